"""Charts of the model page as coordinates: the reliability diagram and the learning curves.

Coordinates are in a square of `SIDE` units from its upper left corner; the template adds frame, ticks and words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from shared.model_report import Bin, Epoch, ModelReport

SIDE: Final = 200
LEAST_RADIUS, MOST_RADIUS = 2.0, 5.5
"""Radius of a dot in units; its area grows with its number of films."""

FEW: Final = 10
"""A bin of fewer films is drawn as uncertain."""

MEASURES: Final[Mapping[str, str]] = MappingProxyType({"loss": "Loss", "accuracy": "Accuracy"})


@dataclass(frozen=True, slots=True)
class Dot:
    """One bin of the diagram: centre, radius, ends of its interval, and whether it has fewer than `FEW` films."""

    x: float
    y: float
    radius: float
    low: float
    high: float
    is_of_few: bool


@dataclass(frozen=True, slots=True)
class Course:
    """The learning curve of one measure.

    Attributes:
        name: in words.
        training, validation: points of the two lines, in SVG's format.
        ticks: values at the ends of the vertical axis; that of a loss begins at 0.
        epochs: number of epochs.
        kept: number and coordinate of the epoch that was kept; None if unknown.
        words: the chart in one sentence.
    """

    name: str
    training: str
    validation: str
    ticks: tuple[str, str]
    epochs: int
    kept: tuple[int, float] | None
    words: str


def draw_reliability(bins: Sequence[Bin]) -> list[Dot]:
    """Return one dot per bin: the share of right labels over the mean probability."""
    most = max((own.accuracy.n for own in bins), default=1) or 1
    return [
        Dot(
            x=SIDE * own.probability,
            y=_height(own.accuracy.value),
            radius=LEAST_RADIUS + (MOST_RADIUS - LEAST_RADIUS) * math.sqrt(own.accuracy.n / most),
            low=_height(own.accuracy.low),
            high=_height(own.accuracy.high),
            is_of_few=own.accuracy.n < FEW,
        )
        for own in bins
    ]


def draw_courses(report: ModelReport) -> list[Course]:
    """Return the curves of loss and accuracy; none for fewer than two epochs."""
    if len(report.history) < 2:  # noqa: PLR2004  a line has two ends
        return []
    return [_course(report.history, report.kept_epoch, measure) for measure in MEASURES]


def _course(history: Sequence[Epoch], kept_epoch: int | None, measure: str) -> Course:
    lines = {part: [float(getattr(own, f"{part}_{measure}")) for own in history] for part in ("train", "validation")}
    values = [value for line in lines.values() for value in line]
    least, most = (0.0 if measure == "loss" else min(values)), max(values)
    spread = (most - least) or 1.0

    def place(number: int) -> float:
        return SIDE * number / (len(history) - 1)

    def points(line: Sequence[float]) -> str:
        return " ".join(f"{place(at):.1f},{_height((value - least) / spread):.1f}" for at, value in enumerate(line))

    kept = next((at for at, own in enumerate(history) if own.epoch == kept_epoch), None)
    return Course(
        name=MEASURES[measure],
        training=points(lines["train"]),
        validation=points(lines["validation"]),
        ticks=(_show(measure, least), _show(measure, most)),
        epochs=len(history),
        kept=None if kept is None else (kept + 1, place(kept)),
        words=_tell(measure, lines, kept),
    )


def _tell(measure: str, lines: Mapping[str, Sequence[float]], kept: int | None) -> str:
    train, validation = lines["train"], lines["validation"]
    ends = [_show(measure, value) for line in (train, validation) for value in (line[0], line[-1])]
    words = (
        f"{MEASURES[measure]} over {len(train)} epochs: training from {ends[0]} to {ends[1]}, "
        f"validation from {ends[2]} to {ends[3]}"
    )
    return words if kept is None else f"{words}, {_show(measure, validation[kept])} at epoch {kept + 1}, which was kept"


def _show(measure: str, value: float) -> str:
    return f"{value:.2f}" if measure == "loss" else f"{100 * value:.0f} %"


def _height(share: float) -> float:
    return SIDE * (1 - share)


FILTERS: Final[Mapping[str, Callable[..., object]]] = MappingProxyType(
    {"draw_reliability": draw_reliability, "draw_courses": draw_courses}
)
