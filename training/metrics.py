"""Metrics as arithmetic on arrays: intervals, calibration error, confusion, recall, F1, ROC area. numpy only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.arrays import FloatArray
from shared.intervals import wilson_interval
from shared.manifest import Rate
from shared.model_report import Bin, Estimate

ECE_BINS: Final = 15

RESAMPLES: Final = 1000
BOOTSTRAP_SEED: Final = 2020

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
Groups = Sequence[str] | npt.NDArray[np.object_]
"""The group (a patient) of each film."""


def wilson(hits: int, n: int) -> Rate:
    """Return the share hits / n with its 95 % interval, see `wilson_interval`; for 0 of 0 the interval is [0, 1]."""
    if n == 0:
        return Rate(value=0.0, n=0, low=0.0, high=1.0)
    low, high = wilson_interval(hits / n, n)
    return Rate(value=hits / n, n=n, low=low, high=high)


def share(is_hit: Booleans, groups: Groups) -> Rate:
    """Return the share of hits with a 95 % interval that takes groups of films (patients) into account.

    Films of a group tend to be right or wrong together. Wilson's interval is taken at n / d films, d being the ratio of
    the variance of the share over groups to that over independent films (Kish 1965's design effect, as Korn and
    Graubard 1998 use it), at least 1; where all or no films are hits, at as many films as there are groups.

    Args:
        is_hit: (N,) bool.
        groups: the group of each film.
    """
    n, hits = len(is_hit), int(is_hit.sum())
    plain = wilson(hits, n)
    members = _members(groups)
    count = len(members)
    if count == n:
        return plain
    if hits in {0, n}:
        effective_n = float(count)
    elif count == 1:
        effective_n = 1.0
    else:
        p = hits / n
        errors = [float(is_hit[films].sum() - p * len(films)) for films in members]
        variance = count / (count - 1) * float(np.square(errors).sum()) / n**2
        effective_n = n / max(1.0, variance * n / (p * (1 - p)))
    low, high = wilson_interval(hits / n, effective_n)
    return plain.model_copy(update={"low": low, "high": high})


def confusion_matrix(truth: Integers, chosen: Integers, labels: int) -> Integers:
    """Return counts (K, K): row = true label, column = chosen label."""
    counts = np.zeros((labels, labels), np.int64)
    np.add.at(counts, (truth, chosen), 1)
    return counts


def balanced_accuracy(confusion: Integers) -> float:
    """Return the mean recall of the labels that have films."""
    sizes = confusion.sum(axis=1)
    present = sizes > 0
    return float((np.diag(confusion)[present] / sizes[present]).mean())


def macro_f1(confusion: Integers | npt.NDArray[np.float64]) -> float:
    """Return the mean F1 of the labels that have films."""
    present = confusion.sum(axis=1) > 0
    return float(f1(confusion)[present].mean())


def f1(confusion: Integers | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return F1 = 2 TP / (2 TP + FP + FN) of each label, (K,); 0 for a label that no film has and none is given."""
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    return 2 * np.diag(confusion) / np.maximum(total, 1)


def expected_calibration_error(probabilities: FloatArray, truth: Integers) -> float:
    """Return the mean of |accuracy - mean top probability| over equal bins of the top probability, weighted by films.

    Naeini et al. 2015 as in Guo et al. 2017 (arXiv 1706.04599), on the bins of `find_bins`.

    Args:
        probabilities: (N, K) float32, calibrated.
        truth: (N,) label indices.
    """
    top = probabilities.max(axis=1).astype(np.float64)
    is_hit = probabilities.argmax(axis=1) == truth
    gaps = [abs(is_hit[in_bin].mean() - top[in_bin].mean()) * in_bin.sum() for in_bin in find_bins(top)]
    return float(sum(gaps)) / len(truth)


def find_bins(top: npt.NDArray[np.float64]) -> list[Booleans]:
    """Return the films of each of `ECE_BINS` equal bins, the least probable first; empty bins are left out.

    Args:
        top: (N,) the largest probability of each film; bin b of n holds (b / n, (b + 1) / n].

    Returns:
        For each bin (N,) bool.
    """
    places = np.clip(np.ceil(top * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    return [places == place for place in np.unique(places)]


def reliability(probabilities: FloatArray, truth: Integers, groups: Groups) -> list[Bin]:
    """Return the bins of the calibration error, each with its accuracy and its interval.

    Args:
        probabilities: (N, K) float32, calibrated.
        truth: (N,) label indices.
        groups: the group of each film.
    """
    top = probabilities.max(axis=1).astype(np.float64)
    is_hit = probabilities.argmax(axis=1) == truth
    names = np.array(groups, dtype=object)
    return [
        Bin(probability=float(top[in_bin].mean()), accuracy=share(is_hit[in_bin], names[in_bin]))
        for in_bin in find_bins(top)
    ]


def bootstrap(
    measure: Callable[[Integers], float],
    groups: Groups,
    ends: tuple[float, float] = (0.0, 1.0),
) -> tuple[float, float]:
    """Return the 95 % percentile interval (Efron 1979) of a measure, over bootstrap resamples of whole groups.

    Resampling increases a calibration error, so the interval is widened, where needed, to contain the measure itself.

    Args:
        measure: takes the indices of films, of which some may occur several times. A resample whose measure is nan is
            left out.
        groups: the group of each film; 1 film or more.
        ends: the least and the largest value of the measure: the interval where all films are of one group. Every
            resample would be that group again, and the interval would have no width.
    """
    members = _members(groups)
    if len(members) == 1:
        return ends
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    value = measure(np.arange(len(groups)))
    draws = (rng.integers(0, len(members), len(members)) for _ in range(RESAMPLES))
    values = [measure(np.concatenate([members[place] for place in places])) for places in draws]
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return min(float(low), value), max(float(high), value)


def estimate(measure: Callable[[Integers], float], groups: Groups, ends: tuple[float, float] = (0.0, 1.0)) -> Estimate:
    """Return a measure of all films with its interval; see `bootstrap`."""
    low, high = bootstrap(measure, groups, ends)
    return Estimate(value=measure(np.arange(len(groups))), n=len(groups), low=low, high=high)


def _members(groups: Groups) -> list[Integers]:
    """Return the films of each group, in the order of first appearance."""
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    return [np.array(places, np.int64) for places in members.values()]


def roc_auc(scores: FloatArray, is_positive: Booleans) -> float:
    """Return the area under the ROC curve: the probability that a positive scores above a negative, ties counting half.

    It is computed by midranks (Hanley and McNeil 1982); nan where there are no positives or no negatives.

    Args:
        scores: (N,) float32.
        is_positive: (N,) bool.
    """
    positives = int(is_positive.sum())
    negatives = len(scores) - positives
    if not positives or not negatives:
        return math.nan
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    midranks = np.cumsum(counts) - (counts - 1) / 2
    above = midranks[places][is_positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))
