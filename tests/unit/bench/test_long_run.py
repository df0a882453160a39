"""What is made of memory samples."""

from __future__ import annotations

import pytest

from tests.bench.long_run import slope


def test_a_line_through_samples_has_their_slope() -> None:
    """Two MB in four seconds, whatever the level; noise around a level has none."""
    assert slope([10.0, 12.0, 14.0], [100.0, 101.0, 102.0]) == pytest.approx(0.5)
    assert slope([0.0, 1.0, 2.0, 3.0], [5.0, 7.0, 7.0, 5.0]) == pytest.approx(0.0)
