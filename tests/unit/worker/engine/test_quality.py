"""Numbers that judge a map, against maps whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from worker.engine.quality import border_share, describe, is_degenerate


@pytest.mark.parametrize("side", [1, 3, 7, 10, 14, 224])
def test_even_map_has_its_area_in_the_border(side: int) -> None:
    """A constant map has 1 - 0.8 * 0.8 of its mass in the border, whatever its size."""
    assert border_share(np.ones((side, side), np.float32)) == pytest.approx(0.36, abs=1e-6)


def test_mass_in_the_middle_is_not_border() -> None:
    """One cell in the middle of 10 x 10: nothing in the border."""
    values = np.zeros((10, 10), np.float32)
    values[5, 5] = 1
    assert border_share(values) == 0


def test_mass_in_a_corner_is_all_border() -> None:
    """One corner cell of 10 x 10, which is the border exactly: everything."""
    values = np.zeros((10, 10), np.float32)
    values[0, 9] = 1
    assert border_share(values) == 1


def test_a_cell_the_border_cuts_counts_in_part() -> None:
    """In 5 x 5 the border is half a cell: a cell in the middle of the top row lies half in it."""
    values = np.zeros((5, 5), np.float32)
    values[0, 2] = 1
    assert border_share(values) == pytest.approx(0.5)


@pytest.mark.parametrize("values", [np.zeros((3, 3)), np.full((3, 3), np.nan), np.zeros((0, 0))])
def test_map_without_mass_has_no_border_share(values: np.ndarray) -> None:
    """No mass, no share: 0, not NaN."""
    assert border_share(values.astype(np.float32)) == 0


@pytest.mark.parametrize(
    "values",
    [np.zeros((3, 3)), np.ones((3, 3)), np.full((3, 3), np.nan), np.array([[0.0, np.inf]]), np.zeros((0, 3))],
    ids=["zero", "constant", "nan", "inf", "empty"],
)
def test_maps_that_say_nothing_are_degenerate(values: np.ndarray) -> None:
    """Zero, constant, not finite or empty maps are degenerate."""
    assert is_degenerate(values.astype(np.float32))


def test_map_with_a_peak_is_described() -> None:
    """A usable map keeps its values and carries method, border share and flag."""
    values = np.zeros((10, 10), np.float32)
    values[4, 4] = 1
    described = describe(values)
    assert described.method == "grad_cam"
    assert described.values is values
    assert described.border_share == 0
    assert not described.is_degenerate
