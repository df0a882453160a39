"""From validation scores to the numbers that belong to one version of a model: temperature and thresholds. numpy."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from shared.domain import FloatArray
from shared.manifest import Thresholds
from shared.verdict import calibrate

TEMPERATURES: Final = np.geomspace(0.5, 10.0, 1000)
"""Candidates, 0.3 % apart. Where validation films separate perfectly the least loss is at 0; 0.5 is the end."""

SPREAD_SHARE: Final = 0.5
"""`min_spread` is this share of the least spread of any validation film: far below a film, far above a blank."""

LARGEST_MIN_PROBABILITY: Final = 0.99
LEAST_QUANTILE: Final = 0.01
"""Ends for validation films that separate perfectly: stricter ones would refuse fresh films over rounding."""

Integers = npt.NDArray[np.int64]


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


def choose_thresholds(
    probabilities: FloatArray, truth: Integers, spreads: FloatArray, labels: tuple[str, ...], aims: tuple[float, float]
) -> Thresholds:
    """Thresholds from calibrated validation probabilities.

    Args:
        probabilities: (N, K) float32.
        truth: (N,) class indices.
        spreads: (N,) standard deviation of each network input.
        labels: K names in score order.
        aims: (least share of films that get a verdict, nominal coverage of the prediction sets).

    Returns:
        The largest `min_probability` that leaves the aimed share a verdict, given the prediction sets.
    """
    coverage, set_coverage = aims
    quantiles = {
        label: max(LEAST_QUANTILE, conformal_quantile(1.0 - probabilities[truth == index, index], set_coverage))
        for index, label in enumerate(labels)
    }
    limits = np.array([quantiles[label] for label in labels], np.float32)
    is_single = (1.0 - probabilities <= limits).sum(axis=1) <= 1
    tops = np.sort(probabilities.max(axis=1)[is_single])[::-1]
    wanted = min(int(np.ceil(coverage * len(truth))), len(tops))
    least = min(LARGEST_MIN_PROBABILITY, float(tops[wanted - 1])) if wanted else 0.0
    return Thresholds(
        min_probability=float(np.floor(least * 1e4) / 1e4),
        min_spread=float(SPREAD_SHARE * spreads.min()),
        set_quantiles=quantiles,
    )
