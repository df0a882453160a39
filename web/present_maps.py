"""Turns explanations into the words of the film page: names of methods, degenerate maps, quality numbers.

Pure functions, used by the templates as filters beside those of `present.py`. A map shows influence on the score; no
text here claims more than its numbers show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from shared import wire
from shared.domain import PIXEL_METHODS, ExplanationMethod, ExplanationState
from shared.imaging.heatmap import MAX_ALPHA

METHODS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        ExplanationMethod.GRAD_CAM: (
            "Grad-CAM",
            "Regions: where the last layers found support for the label. Coarse; computed with every verdict.",
        ),
        ExplanationMethod.GRAD_CAM_PLUS_PLUS: (
            "Grad-CAM++",
            "Regions, like Grad-CAM, but weighted so that one large area does not hide several small ones.",
        ),
        ExplanationMethod.SMOOTH_GRAD: (
            "SmoothGrad",
            "Pixels: how strongly the score reacts to each, averaged over slightly noisy copies of the film.",
        ),
        ExplanationMethod.INTEGRATED_GRADIENTS: (
            "Integrated gradients",
            "Pixels: the contribution of each, added up while the film is brightened step by step from black.",
        ),
        ExplanationMethod.GRADIENT: (
            "Gradient",
            "Pixels: how strongly the score reacts to each one by itself. The plainest method, the noisiest heatmap.",
        ),
    }
)
"""Method to (name, what its map shows)."""

DEGENERATE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "empty": "The raw map has no cells.",
        "not_finite": "The raw map contains values that are not numbers.",
        "all_zero": "The raw map is zero everywhere: nothing supported the label.",
        "constant": "The raw map is the same everywhere.",
        "one_corner": "Nearly all of the raw map lies in one corner of the film.",
    }
)
STATES: Final[Mapping[ExplanationState, str]] = MappingProxyType(
    {
        ExplanationState.QUEUED: "waiting",
        ExplanationState.RUNNING: "being made",
        ExplanationState.SUCCEEDED: "ready",
        ExplanationState.FAILED: "failed",
    }
)
CORRELATIONS: Final = ((0.8, "close"), (0.5, "moderate"), (0.2, "weak"), (-0.2, "hardly any"), (-1.0, "opposed"))
"""Least rank correlation and its word; our own grading, for display only."""

WORTH: Final[Mapping[tuple[bool, ...], str]] = MappingProxyType(
    {
        (True, True): (
            "The score falls faster when the marked parts are removed first, and rises faster when they are shown "
            "first, than in every random order that was tried: the score depends on what the heatmap marks."
        ),
        (True, False): (
            "The score falls faster than in every random order when the marked parts are removed first, but rises no "
            "faster when they are shown first: at most, this heatmap explains the score in part."
        ),
        (False, True): (
            "The score rises faster than in every random order when the marked parts are shown first, but falls no "
            "faster when they are removed first: at most, this heatmap explains the score in part."
        ),
        (False, False): (
            "The marked parts change the score no faster than some random orders do: the score may depend on them "
            "no more than on the rest."
        ),
    }
)
"""Conclusion of the comparison by (deletion, insertion) beat every random order."""

EVEN_BORDER: Final = 1 - 0.8**2
"""Share of a uniform map in the border of one tenth of each side: the border's share of the area."""

MARGIN: Final = 0.01
"""A score that falls by less than one percentage point counts as constant."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row of the table of a map against random orders: areas in [0, 1], and whether the map beat all of them."""

    words: str
    wanted: str
    area: float
    random_area: float
    is_better: bool


def name_method(code: str) -> str:
    """'grad_cam' -> 'Grad-CAM'."""
    return METHODS[code][0] if code in METHODS else code


def describe_method(code: str) -> str:
    """Return what a method's map shows, as a sentence."""
    return METHODS[code][1] if code in METHODS else ""


def describe_degenerate(reason: str | None) -> str:
    """Return why a map is degenerate; a general sentence for an unknown reason."""
    return DEGENERATE.get(reason or "", "The raw map is empty, constant, or all in one corner.")


def describe_correlation(value: float | None) -> str:
    """0.93 -> '0.93, close'."""
    if value is None:
        return "undefined: one of the heatmaps is constant"
    return f"{value:.2f}, {next(word for least, word in CORRELATIONS if value >= least)}"


def compare(quality: wire.MapQuality) -> list[Comparison]:
    """Return deletion and insertion compared with random orders."""
    deletion, insertion, random = quality.deletion_auc, quality.insertion_auc, quality.random_auc
    is_lower = quality.random_least is not None and deletion < quality.random_least
    is_higher = quality.random_most is not None and insertion > quality.random_most
    return [
        Comparison("Marked parts removed first", "lower is better", deletion, random, is_lower),
        Comparison("Marked parts shown first", "higher is better", insertion, random, is_higher),
    ]


def weigh(quality: wire.MapQuality) -> str:
    """Return the conclusion of the comparison, as one or two sentences."""
    if quality.random_least is None or quality.random_most is None:
        return (
            "This was measured by an earlier build, with too few random orders to distinguish the heatmap from chance."
        )
    conclusion = WORTH[tuple(line.is_better for line in compare(quality))]
    if quality.deletion[-1] < quality.deletion[0] - MARGIN:
        return conclusion
    return f"{conclusion} A blank film scores no lower for this label, so the comparison is not informative here."


def describe_option(method: str, made: wire.ExplanationDetail | None) -> str:
    """Return a method as the picker lists it: its name and its map's state; the map may be ready before its quality."""
    name = name_method(method)
    if made is None:
        return name
    if made.sha256 and not made.done:
        return f"{name} (ready, {_measuring(made)})"
    return f"{name} ({STATES[made.status]})"


def _measuring(made: wire.ExplanationDetail) -> str:
    return "to be measured" if made.status is ExplanationState.QUEUED else "being measured"


def seen_map(shown: wire.ExplanationDetail | None) -> str:
    """Return the state of an unfinished map that a page sends with its polls, to receive changes only."""
    return f"{shown.status.value}.{shown.attempt}" if shown else "none"


def summarize_map(shown: wire.ExplanationDetail | None, method: str) -> str:
    """Return the shown map in one line, for screen readers."""
    name = name_method(method)
    if shown is None:
        return f"{name}: not made yet."
    if shown.sha256 and not shown.done:
        return f"{name} is shown, {_measuring(shown)}."
    if shown.status is not ExplanationState.SUCCEEDED:
        return f"{name}: {STATES[shown.status]}."
    if shown.is_degenerate:
        return f"{name}: no heatmap is drawn."
    return f"{name} is shown."


FILTERS: Final[Mapping[str, Callable[..., object]]] = MappingProxyType(
    {
        "name_method": name_method,
        "describe_method": describe_method,
        "describe_degenerate": describe_degenerate,
        "describe_correlation": describe_correlation,
        "compare": compare,
        "weigh": weigh,
        "describe_option": describe_option,
        "seen_map": seen_map,
        "summarize_map": summarize_map,
    }
)
CHOICES: Final[Mapping[str, object]] = MappingProxyType(
    {
        "METHODS": tuple(ExplanationMethod),
        "PIXEL_METHODS": PIXEL_METHODS,
        "MAX_ALPHA": MAX_ALPHA,
        "EVEN_BORDER": EVEN_BORDER,
    }
)
