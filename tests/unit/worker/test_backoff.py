"""Pauses after transient errors: full jitter, growing, capped at a minute."""

from __future__ import annotations

import random

import pytest

from worker.backoff import retry_delay_s


@pytest.mark.parametrize(("attempt", "most_s"), [(1, 2), (2, 4), (3, 8), (5, 32), (6, 60), (30, 60)])
def test_the_pause_is_anywhere_below_a_bound_that_doubles(attempt: int, most_s: float) -> None:
    """Over many draws it comes near both ends, so that what failed together is spread."""
    draw = random.Random(0)  # noqa: S311  no secret
    drawn = [retry_delay_s(attempt, draw) for _ in range(500)]
    assert 0 <= min(drawn) < 0.05 * most_s
    assert 0.95 * most_s < max(drawn) <= most_s
