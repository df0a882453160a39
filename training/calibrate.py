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
from training.other_limits import OtherScores, choose_max_other
from training.recipe import Recipe

TEMPERATURES: Final = np.geomspace(0.5, 10.0, 1000)
"""Candidates, 0.3 % apart. Where the validation films separate perfectly, the loss is least at a temperature of 0; the
search stops at 0.5."""

SPREAD_SHARE: Final = 0.5
"""`min_spread` is this share of the least spread of any validation film: far below a film, far above a blank."""

LARGEST_MIN_PROBABILITY: Final = 0.99
LEAST_QUANTILE: Final = 0.01
"""Bounds for validation films that separate perfectly: stricter thresholds would refuse new films over rounding."""


def log_loss(probabilities: FloatArray, truth: Integers) -> float:
    """Return the mean over the classes of the mean -log p of the true class, so that no class outweighs another."""
    losses = -np.log(np.clip(probabilities[np.arange(len(truth)), truth], 1e-7, 1.0))
    return float(np.mean([losses[truth == label].mean() for label in np.unique(truth)]))


def fit_temperature(logits: FloatArray, truth: Integers) -> float:
    """Return the temperature with the least balanced log-loss (Guo et al. 2017, arXiv 1706.04599).

    Args:
        logits: (N, K) float32 of validation films.
        truth: (N,) class indices.
    """
    losses = [log_loss(calibrate(logits, float(candidate)), truth) for candidate in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def conformal_quantile(nonconformity: npt.NDArray[np.floating], coverage: float) -> float:
    """Return the ceil((n + 1) * coverage)-th smallest of n values; 1.0 where n is too small to promise the coverage.

    Split conformal prediction per class (Vovk 2012, arXiv 1209.2673): with 1 - p of the true class as nonconformity,
    the set of labels within the quantile holds the true label with at least this probability on exchangeable films.
    """
    rank = int(np.ceil((len(nonconformity) + 1) * coverage))
    if rank > len(nonconformity):
        return 1.0
    return float(np.sort(nonconformity)[rank - 1])


def smallest_sample(coverage: float) -> int:
    """Return the fewest values from which `conformal_quantile` can promise the coverage.

    It is 0 where no number of values can, or where it takes 1,000 or more.
    """
    return next((n for n in range(1, 1000) if ceil((n + 1) * coverage) <= n), 0)


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """Network outputs of N validation films, from which temperature and thresholds are chosen.

    Attributes:
        logits: (N, outputs) float32.
        truth: (N,) output indices; K = len(labels) for a film with an other finding.
        spreads: standard deviation of each network input, of the unchanged films at least.
        gate: (N, 2) the input gate's film and feature distance; None without a gate.
        is_changed: (N,) whether the row is an augmented copy; None: no row is. Prediction sets promise their coverage
            for films like those they were calibrated on, so copies are left out of their quantiles.
    """

    logits: FloatArray
    truth: Integers
    spreads: FloatArray
    gate: FloatArray | None = None
    is_changed: Booleans | None = None

    @property
    def is_original(self) -> Booleans:
        """(N,) whether the row is an unchanged film."""
        return np.ones(len(self.truth), bool) if self.is_changed is None else ~self.is_changed


@dataclass(frozen=True, slots=True)
class Targets:
    """Shares that the thresholds are to reach on the validation films; see the `Recipe` attributes of these names."""

    coverage: float
    set_coverage: float
    other_verdicts: float = 1.0
    gate_pass: float = 1.0

    @classmethod
    def of(cls, recipe: Recipe) -> Targets:
        """Return the targets that a recipe names."""
        return cls(recipe.coverage, recipe.set_coverage, recipe.other_verdicts, recipe.gate_pass)


def choose_thresholds(films: CalibrationSet, labels: tuple[str, ...], targets: Targets) -> tuple[float, Thresholds]:
    """Return the temperature and the thresholds of one version of a model.

    The temperature is fitted to the forced choice among the labels, on the films that have one. `min_probability` is
    the largest threshold at which the target share of these films still gets a verdict, given the prediction sets;
    `max_other` then lets at most the target share of the films with an other finding pass, see `choose_max_other`.
    """
    is_labelled = films.truth < len(labels)
    temperature = fit_temperature(films.logits[is_labelled, : len(labels)], films.truth[is_labelled])
    probabilities = calibrate(films.logits[:, : len(labels)], temperature)
    is_sample = is_labelled & films.is_original
    quantiles = _quantiles(probabilities[is_sample], films.truth[is_sample], labels, targets.set_coverage)
    is_singleton = _has_singleton_set(probabilities, quantiles, labels)
    tops = probabilities.max(axis=1)
    min_probability = _min_probability(tops[is_labelled], is_singleton[is_labelled], targets.coverage)
    max_other = None
    if films.logits.shape[1] > len(labels):
        other = calibrate(films.logits, temperature)[:, len(labels) :].sum(axis=1)
        is_candidate = is_singleton & (tops >= min_probability)
        scores = OtherScores(probabilities.argmax(axis=1), other, is_labelled, is_candidate)
        max_other = choose_max_other(scores, labels, targets.other_verdicts)
    max_film, max_feature = _gate_limits(films.gate, targets.gate_pass)
    return temperature, Thresholds(
        min_probability=min_probability,
        min_spread=float(SPREAD_SHARE * films.spreads.min()),
        set_quantiles=quantiles,
        max_other=max_other,
        max_film_distance=max_film,
        max_feature_distance=max_feature,
    )


def _gate_limits(distances: FloatArray | None, pass_share: float) -> tuple[float | None, float | None]:
    """Return the quantiles of film and feature distance (N, 2) that the given share of the films stays within."""
    if distances is None:
        return None, None
    film, feature = np.quantile(distances, pass_share, axis=0).tolist()
    return film, feature


def _quantiles(
    probabilities: FloatArray, truth: Integers, labels: tuple[str, ...], set_coverage: float
) -> dict[str, float]:
    return {
        label: max(LEAST_QUANTILE, conformal_quantile(1.0 - probabilities[truth == index, index], set_coverage))
        for index, label in enumerate(labels)
    }


def _has_singleton_set(probabilities: FloatArray, quantiles: dict[str, float], labels: tuple[str, ...]) -> Booleans:
    """(N,) whether the prediction set holds no label beside the most probable one."""
    limits = np.array([quantiles[label] for label in labels], np.float32)
    is_inside = 1.0 - probabilities <= limits
    is_inside[np.arange(len(probabilities)), probabilities.argmax(axis=1)] = False
    return np.logical_not(is_inside.any(axis=1))


def _min_probability(tops: FloatArray, is_singleton: Booleans, coverage: float) -> float:
    """Return the largest threshold, in ten-thousandths, at which the given share of all films still gets a verdict."""
    decidable = np.sort(tops[is_singleton])[::-1]
    count = min(int(np.ceil(coverage * len(tops))), len(decidable))
    threshold = min(LARGEST_MIN_PROBABILITY, float(decidable[count - 1])) if count else 0.0
    return float(np.floor(threshold * 1e4) / 1e4)
