"""The arithmetic of the measurements: intervals, calibration error, confusion, recall, F1. numpy only, no films."""

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
    """The share hits / n with its 95 % interval, see `wilson_interval`; 0 of 0 is [0, 1]."""
    if n == 0:
        return Rate(value=0.0, n=0, low=0.0, high=1.0)
    low, high = wilson_interval(hits / n, n)
    return Rate(value=hits / n, n=n, low=low, high=high)


def share(is_hit: Booleans, groups: Groups) -> Rate:
    """The share of hits with a 95 % interval that knows which films are of one group (a patient).

    Films of a group go right and wrong together. Wilson's interval is taken at n / d films, d being the variance of
    the share over groups against that over independent films (Kish 1965's design effect, as Korn and Graubard 1998
    use it), never below 1; where all or no films are hits, at as many films as there are groups.

    Args:
        is_hit: (N,) bool.
        groups: the group of each.
    """
    n, hits = len(is_hit), int(is_hit.sum())
    plain = wilson(hits, n)
    members = _members(groups)
    count = len(members)
    if count == n:
        return plain
    if hits in {0, n}:
        narrowed = float(count)
    elif count == 1:
        narrowed = 1.0
    else:
        p = hits / n
        errors = [float(is_hit[own].sum() - p * len(own)) for own in members]
        variance = count / (count - 1) * float(np.square(errors).sum()) / n**2
        narrowed = n / max(1.0, variance * n / (p * (1 - p)))
    found = wilson_interval(hits / n, narrowed)
    return plain.model_copy(update={"low": found[0], "high": found[1]})


def confusion_matrix(truth: Integers, chosen: Integers, labels: int) -> Integers:
    """(K, K) counts: row = true label, column = chosen label."""
    counts = np.zeros((labels, labels), np.int64)
    np.add.at(counts, (truth, chosen), 1)
    return counts


def balanced_accuracy(confusion: Integers) -> float:
    """Mean recall of the labels that have films."""
    sizes = confusion.sum(axis=1)
    present = sizes > 0
    return float((np.diag(confusion)[present] / sizes[present]).mean())


def macro_f1(confusion: Integers | npt.NDArray[np.float64]) -> float:
    """Mean F1 of the labels that have films."""
    present = confusion.sum(axis=1) > 0
    return float(f1(confusion)[present].mean())


def f1(confusion: Integers | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(K,) F1 = 2 TP / (2 TP + FP + FN) of each label; 0 for one that no film has or is given."""
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    return 2 * np.diag(confusion) / np.maximum(total, 1)


def expected_calibration_error(probabilities: FloatArray, truth: Integers) -> float:
    """Mean over equal bins of the top probability of |accuracy - mean top probability|, weighted by films.

    Naeini et al. 2015 as in Guo et al. 2017 (arXiv 1706.04599), on the bins of `find_bins`.

    Args:
        probabilities: (N, K) float32, calibrated.
        truth: (N,) label indices.
    """
    top = probabilities.max(axis=1).astype(np.float64)
    is_hit = probabilities.argmax(axis=1) == truth
    gaps = [abs(is_hit[own].mean() - top[own].mean()) * own.sum() for own in find_bins(top)]
    return float(sum(gaps)) / len(truth)


def find_bins(top: npt.NDArray[np.float64]) -> list[Booleans]:
    """Which films each of `ECE_BINS` equal bins holds, the least probable first; bins that hold none are left out.

    Args:
        top: (N,) the largest probability of each film; bin b of n holds (b / n, (b + 1) / n].

    Returns:
        (N,) bool each.
    """
    places = np.clip(np.ceil(top * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    return [places == place for place in np.unique(places)]


def reliability(probabilities: FloatArray, truth: Integers, groups: Groups) -> list[Bin]:
    """The bins of the calibration error, each with the interval of its accuracy.

    Args:
        probabilities: (N, K) float32, calibrated.
        truth: (N,) label indices.
        groups: the group of each film.
    """
    top = probabilities.max(axis=1).astype(np.float64)
    is_hit = probabilities.argmax(axis=1) == truth
    own_groups = np.array(groups, dtype=object)
    return [
        Bin(probability=float(top[own].mean()), accuracy=share(is_hit[own], own_groups[own])) for own in find_bins(top)
    ]


def bootstrap(
    measure: Callable[[Integers], float],
    groups: Groups,
    ends: tuple[float, float] = (0.0, 1.0),
) -> tuple[float, float]:
    """95 % percentile interval (Efron 1979) of a measure over films, whole groups drawn again with replacement.

    Drawing again adds to a calibration error, so the interval is widened to hold the measure itself where needed.

    Args:
        measure: of the films at these indices; a film may stand there several times. A draw that gives nan is left out.
        groups: the group of each film; 1 film or more.
        ends: the least and the largest that the measure can be. The films of one group tell no more: drawn again they
            are the same, which would look like certainty.
    """
    members = _members(groups)
    if len(members) == 1:
        return ends
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    value = measure(np.arange(len(groups)))
    drawn = (rng.integers(0, len(members), len(members)) for _ in range(RESAMPLES))
    found = [measure(np.concatenate([members[place] for place in places])) for places in drawn]
    low, high = np.nanpercentile(found, (2.5, 97.5))
    return min(float(low), value), max(float(high), value)


def estimate(measure: Callable[[Integers], float], groups: Groups, ends: tuple[float, float] = (0.0, 1.0)) -> Estimate:
    """A measure of all films with its interval; see `bootstrap`."""
    low, high = bootstrap(measure, groups, ends)
    return Estimate(value=measure(np.arange(len(groups))), n=len(groups), low=low, high=high)


def _members(groups: Groups) -> list[Integers]:
    """The films of each group, in the order of first appearance."""
    found: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        found.setdefault(group, []).append(place)
    return [np.array(places, np.int64) for places in found.values()]


def roc_auc(scores: FloatArray, is_positive: Booleans) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    By midranks (Hanley and McNeil 1982); nan where one of the two kinds is missing.

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
