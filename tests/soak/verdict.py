"""Does something grow? Pure; called by `__main__`.

By the median of all slopes between two samples (Theil and Sen), which sees a slow leak in noise; and by the end beside
the start, which sees a single step that leaves most slopes as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf
from statistics import median

MOST_SAMPLES = 200
"""Of more samples every n-th is compared: 200 give 19,900 slopes."""

SETTLING = 0.5
"""So much of a run is not judged: caches, pools and arenas fill up."""


EDGE = 0.1
"""So much of what is judged is its start, and its end: in half an hour 90 s each, many times a short spike."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How much may be gained while judged: so much, and a share of the level; and the highest level there may be."""

    absolute: float
    share: float
    most: float = inf


LIMITS: Mapping[str, Limit] = {
    "memory_mib": Limit(4.0, 0.02),
    "descriptors": Limit(3.0, 0.02, most=100.0),
    "threads": Limit(3.0, 0.02, most=40.0),
}
"""A byte too many a film is seen by nobody; half a kilobyte is, in 15 minutes at 20 films/s (9 MB).

With four senders a web server holds 25 descriptors and 8 threads, a worker 17 and 12. What was left open before
anything is judged, at full load, does not grow any more: it is seen by how much there is (DECISIONS 83).
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen of one role at `at_s`, in s since the load began."""

    at_s: float
    value: float


@dataclass(frozen=True, slots=True)
class Trend:
    """How one quantity of one role went.

    Attributes:
        level: its median while judged.
        per_hour: by how much it grows in an hour.
        gain: by how much it grew while judged, at that pace.
        step: how much higher the end is than the start, medians of both.
        is_growing: gain or step is more than its limit.
        is_high: the level is above the highest there may be.
    """

    level: float
    per_hour: float
    gain: float
    step: float
    is_growing: bool
    is_high: bool


def judge(samples: Sequence[Sample], limit: Limit) -> Trend:
    """The trend of what comes after the settling.

    Raises:
        ValueError: there are fewer than two samples to judge.
    """
    judged = settled(samples)
    if len(judged) < 2:
        raise ValueError("too few samples to judge: let it run longer")
    level = median(sample.value for sample in judged)
    slope = slope_per_s(judged)
    gain, step = slope * (judged[-1].at_s - judged[0].at_s), rise(judged)
    is_growing = max(gain, step) > limit.absolute + limit.share * level
    return Trend(level, slope * 3600, gain, step, is_growing, is_high=level > limit.most)


def settled(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Those of the last part of the run."""
    if not samples:
        return []
    since = samples[0].at_s + SETTLING * (samples[-1].at_s - samples[0].at_s)
    return [sample for sample in samples if sample.at_s >= since]


def rise(samples: Sequence[Sample]) -> float:
    """From the median of the first samples to that of the last."""
    edge = max(1, round(EDGE * len(samples)))
    start, end = samples[:edge], samples[-edge:]
    return median(sample.value for sample in end) - median(sample.value for sample in start)


def slope_per_s(samples: Sequence[Sample]) -> float:
    """The median slope: a spike, or a decoder's short-lived child in every third sample, does not move it."""
    thinned = samples[:: -(-len(samples) // MOST_SAMPLES)]
    return median((b.value - a.value) / (b.at_s - a.at_s) for a, b in combinations(thinned, 2) if b.at_s > a.at_s)
