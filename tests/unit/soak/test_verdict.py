"""A leak is told from a plateau, from noise and from spikes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.soak.verdict import LIMITS, MOST_SAMPLES, Limit, Sample, judge, slope_per_s

LIMIT = LIMITS["memory_mib"]


def series(values: list[float]) -> list[Sample]:
    """One sample each 5 s."""
    return [Sample(5.0 * place, float(value)) for place, value in enumerate(values)]


def noise(count: int) -> np.ndarray:
    """Some MiB up and down."""
    return np.random.default_rng(1).normal(0, 2, count)


def test_a_leak_is_found_in_noise() -> None:
    """A tenth of a MiB every 5 s on 400 MiB, for half an hour."""
    trend = judge(series(list(400 + 0.1 * np.arange(360) + noise(360))), LIMIT)
    assert trend.is_growing
    assert trend.per_hour == pytest.approx(72, rel=0.1)
    assert trend.gain == pytest.approx(18, rel=0.1)


def test_noise_alone_is_steady() -> None:
    """Its slope is next to nothing."""
    assert not judge(series(list(400 + noise(360))), LIMIT).is_growing


def test_what_fills_up_and_stays_is_steady() -> None:
    """100 MiB in the first half are not judged."""
    assert not judge(series([300 + min(place, 100) for place in range(360)]), LIMIT).is_growing


def test_spikes_are_steady() -> None:
    """A short-lived child in every third sample."""
    assert not judge(series([50 + 40 * (place % 3 == 0) for place in range(360)]), LIMIT).is_growing


@pytest.mark.parametrize("share", [0.15, 0.05])
def test_a_single_step_near_the_end_is_growth(share: float) -> None:
    """A gigabyte in the last seventh or the last twentieth leaves the median slope at nothing."""
    late = round(360 * (1 - share))
    values = [400 + 1024 * (place >= late) for place in range(360)]
    assert slope_per_s(series(values)) == 0
    trend = judge(series(values), LIMIT)
    assert trend.step == 1024
    assert trend.is_growing


def test_what_was_left_open_before_is_seen_by_how_much_there_is() -> None:
    """940 descriptors do not grow any more."""
    left, usual = (judge(series([level] * 360), LIMITS["descriptors"]) for level in (940, 25))
    assert (left.is_high, left.is_growing, usual.is_high) == (True, False, False)


def test_one_descriptor_a_minute_is_a_leak() -> None:
    """In half an hour."""
    trend = judge(series([30 + place // 12 for place in range(360)]), LIMITS["descriptors"])
    assert trend.is_growing


def test_too_few_samples_are_no_verdict() -> None:
    """Rather an error than a pass."""
    with pytest.raises(ValueError, match="longer"):
        judge(series([1.0]), Limit(0, 0))
    with pytest.raises(ValueError, match="longer"):
        judge([], Limit(0, 0))


def test_many_samples_are_thinned() -> None:
    """The slope of a line is the same."""
    assert slope_per_s(series([2.0 * place for place in range(10 * MOST_SAMPLES + 3)])) == pytest.approx(0.4)
