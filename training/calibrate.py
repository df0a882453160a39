"""From validation scores to the numbers that belong to one version of a model: temperature and thresholds. numpy."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.arrays import FloatArray
from shared.manifest import Thresholds
from shared.verdict import calibrate
from training.metrics import Booleans, Integers
from training.recipe import Recipe

TEMPERATURES: Final = np.geomspace(0.5, 10.0, 1000)
"""Candidates, 0.3 % apart. Where validation films separate perfectly the least loss is at 0; 0.5 is the end."""

SPREAD_SHARE: Final = 0.5
"""`min_spread` is this share of the least spread of any validation film: far below a film, far above a blank."""

LARGEST_MIN_PROBABILITY: Final = 0.99
LARGEST_MAX_OTHER: Final = 0.5
"""An other finding that is more probable than not is always a doubt."""
LEAST_QUANTILE: Final = 0.01
"""Ends for validation films that separate perfectly: stricter ones would refuse fresh films over rounding."""


def log_loss(probabilities: FloatArray, truth: Integers) -> float:
    """Mean over the classes of the mean -log p of the true class, so that no class outweighs another."""
    losses = -np.log(np.clip(probabilities[np.arange(len(truth)), truth], 1e-7, 1.0))
    return float(np.mean([losses[truth == label].mean() for label in np.unique(truth)]))


def fit_temperature(logits: FloatArray, truth: Integers) -> float:
    """The temperature with the least balanced log-loss (Guo et al. 2017, arXiv 1706.04599).

    Args:
        logits: (N, K) float32 of validation films.
        truth: (N,) class indices.
    """
    losses = [log_loss(calibrate(logits, float(candidate)), truth) for candidate in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def conformal_quantile(nonconformity: npt.NDArray[np.floating], coverage: float) -> float:
    """The ceil((n + 1) * coverage)-th smallest of n values; 1.0 where n is too small to promise it.

    Split conformal prediction per class (Vovk 2012, arXiv 1209.2673): with 1 - p of the true class as values, the
    set of labels within the quantile holds the truth with at least this probability on exchangeable films.
    """
    rank = int(np.ceil((len(nonconformity) + 1) * coverage))
    if rank > len(nonconformity):
        return 1.0
    return float(np.sort(nonconformity)[rank - 1])


def least_for(coverage: float) -> int:
    """The fewest values that `conformal_quantile` can promise it by; 0 where none can, or it takes a thousand."""
    return next((n for n in range(1, 1000) if ceil((n + 1) * coverage) <= n), 0)


@dataclass(frozen=True, slots=True)
class Held:
    """Of N validation films, what thresholds are chosen from.

    Attributes:
        logits: (N, outputs) float32.
        truth: (N,) output indices; K = len(labels) for a film with an other finding.
        spreads: (N,) standard deviation of each network input.
        gate: (N, 2) the gate's film and feature distance; None without a gate.
        is_changed: (N,) whether the row is a changed copy; None: none is. Prediction sets promise their coverage for
            films like those they were made from, so copies do not count for them.
    """

    logits: FloatArray
    truth: Integers
    spreads: FloatArray
    gate: FloatArray | None = None
    is_changed: Booleans | None = None

    @property
    def is_film(self) -> Booleans:
        """(N,) whether the row is a film as it is."""
        return np.ones(len(self.truth), bool) if self.is_changed is None else ~self.is_changed


@dataclass(frozen=True, slots=True)
class Aims:
    """What the thresholds should reach on the validation films; see the `Recipe` attributes of these names."""

    coverage: float
    set_coverage: float
    other_verdicts: float = 1.0
    gate_pass: float = 1.0

    @classmethod
    def of(cls, recipe: Recipe) -> Aims:
        """Those of a recipe."""
        return cls(recipe.coverage, recipe.set_coverage, recipe.other_verdicts, recipe.gate_pass)


def conclude(held: Held, labels: tuple[str, ...], aims: Aims) -> tuple[float, Thresholds]:
    """The temperature and the thresholds of one version of a model.

    The temperature is that of the choice among the labels, on films that have one. `min_probability` is the largest
    that leaves the aimed share of them a verdict, given the prediction sets; `max_other` then lets at most the aimed
    share of the films with an other finding through, see `_max_other`.
    """
    is_ours = held.truth < len(labels)
    temperature = fit_temperature(held.logits[is_ours, : len(labels)], held.truth[is_ours])
    probabilities = calibrate(held.logits[:, : len(labels)], temperature)
    is_sample = is_ours & held.is_film
    quantiles = _quantiles(probabilities[is_sample], held.truth[is_sample], labels, aims.set_coverage)
    is_alone = _is_alone(probabilities, quantiles, labels)
    least = _min_probability(probabilities[is_ours].max(axis=1), is_alone[is_ours], aims.coverage)
    would_pass = is_alone & (probabilities.max(axis=1) >= least)
    has_other = held.logits.shape[1] > len(labels)
    other = calibrate(held.logits, temperature)[:, len(labels) :].sum(axis=1)
    limits = (None, None) if held.gate is None else np.quantile(held.gate, aims.gate_pass, axis=0).tolist()
    return temperature, Thresholds(
        min_probability=least,
        min_spread=float(SPREAD_SHARE * held.spreads.min()),
        set_quantiles=quantiles,
        max_other=_max_other(held.truth, probabilities, other, would_pass, labels, aims) if has_other else None,
        max_film_distance=limits[0],
        max_feature_distance=limits[1],
    )


def _quantiles(
    probabilities: FloatArray, truth: Integers, labels: tuple[str, ...], set_coverage: float
) -> dict[str, float]:
    return {
        label: max(LEAST_QUANTILE, conformal_quantile(1.0 - probabilities[truth == index, index], set_coverage))
        for index, label in enumerate(labels)
    }


def _is_alone(probabilities: FloatArray, quantiles: dict[str, float], labels: tuple[str, ...]) -> Booleans:
    """(N,) whether the prediction set holds no label beside the most probable one."""
    limits = np.array([quantiles[label] for label in labels], np.float32)
    is_inside = 1.0 - probabilities <= limits
    is_inside[np.arange(len(probabilities)), probabilities.argmax(axis=1)] = False
    return np.logical_not(is_inside.any(axis=1))


def _min_probability(tops: FloatArray, is_alone: Booleans, coverage: float) -> float:
    """The largest threshold, in ten-thousandths, at which that share of all films still gets a verdict."""
    able = np.sort(tops[is_alone])[::-1]
    wanted = min(int(np.ceil(coverage * len(tops))), len(able))
    least = min(LARGEST_MIN_PROBABILITY, float(able[wanted - 1])) if wanted else 0.0
    return float(np.floor(least * 1e4) / 1e4)


def _max_other(  # noqa: PLR0913, PLR0917 - one call, in one place
    truth: Integers,
    probabilities: FloatArray,
    other: FloatArray,
    would_pass: Booleans,
    labels: tuple[str, ...],
    aims: Aims,
) -> dict[str, float]:
    """For each label its limit: together they let at most the aimed share of all films with an other finding pass.

    An other finding that looks like one label need not cost verdicts of the others: of all ways to spend the films
    that may pass on the labels, the one that leaves the largest mean share of each label's own films; of equal ones
    the strictest.
    """
    leader, is_ours = probabilities.argmax(axis=1), truth < len(labels)
    allowed = int(np.floor(aims.other_verdicts * (~is_ours).sum()))
    spent: dict[int, tuple[float, tuple[float, ...]]] = {0: (0.0, ())}
    for place in range(len(labels)):
        of_label = would_pass & (leader == place)
        own, foreign = other[of_label & is_ours], np.sort(other[of_label & ~is_ours])
        offers = [_offer(own, foreign, passing) for passing in range(min(allowed, len(foreign)) + 1)]
        found: dict[int, tuple[float, tuple[float, ...]]] = {}
        for so_far, (kept, limits) in spent.items():
            for passing, (share, limit) in enumerate(offers[: allowed - so_far + 1]):
                option = (kept + share, (*limits, limit))
                found[so_far + passing] = max(found.get(so_far + passing, option), option)
        spent = found
    best = max(spent, key=lambda passing: (round(spent[passing][0], 9), -passing))
    return dict(zip(labels, spent[best][1], strict=True))


def _offer(own: FloatArray, foreign: FloatArray, passing: int) -> tuple[float, float]:
    """The share of a label's own films below the limit that lets so many foreign ones pass, and that limit."""
    limit = min(LARGEST_MAX_OTHER, float(foreign[passing]) if passing < len(foreign) else 1.0)
    return (float((own < limit).mean()) if len(own) else 1.0), limit
