"""Tuning: `tests/bench/tune.py`."""

from __future__ import annotations

from tests.bench import tune
from tests.bench.tune import Trial


def test_the_best_setting_has_the_highest_geometric_mean() -> None:
    """A gain on one sort of film does not hide a loss on the other."""
    lopsided = Trial({"n": 1}, {"png": 5.0, "jpeg": 45.0})
    even = Trial({"n": 2}, {"png": 20.0, "jpeg": 20.0})
    assert tune.best([lopsided, even]) is even
    assert even.score == 20.0


def test_of_equals_the_first_is_taken() -> None:
    """It was found best before."""
    first, second = (Trial({"n": n}, {"png": 10.0}) for n in (1, 2))
    assert tune.best([first, second]) is first
