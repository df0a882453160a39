"""Numbers that judge a map, against maps whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from worker.engine.quality import (
    border_share,
    corner_share,
    degenerate_reason,
    describe,
    rank_correlation,
)


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


def one_cell(side: int, row: int, column: int) -> np.ndarray:
    """A (side, side) map with all its mass in one cell."""
    values = np.zeros((side, side), np.float32)
    values[row, column] = 1
    return values


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((0, 3)), "empty"),
        (np.full((3, 3), np.nan), "not_finite"),
        (np.array([[0.0, np.inf]]), "not_finite"),
        (np.zeros((3, 3)), "all_zero"),
        (np.ones((3, 3)), "constant"),
        (np.full((3, 3), 0.3) + 1e-9, "constant"),
        (one_cell(8, 0, 7), "one_corner"),
        (one_cell(7, 6, 6), "one_corner"),
        (one_cell(224, 55, 55), "one_corner"),
    ],
)
def test_maps_that_say_nothing_are_degenerate(values: np.ndarray, reason: str) -> None:
    """Each kind of map that says nothing, by its name."""
    assert degenerate_reason(values.astype(np.float32)) == reason


@pytest.mark.parametrize(
    "values",
    [
        one_cell(8, 3, 3),
        one_cell(8, 0, 3),
        one_cell(8, 2, 0),
        one_cell(224, 56, 10),
        np.eye(7),
        np.array([[1.0, 0.999]]),
    ],
    ids=["middle", "top", "left", "beside the corner", "diagonal", "nearly constant"],
)
def test_maps_that_say_something_are_not_degenerate(values: np.ndarray) -> None:
    """A peak anywhere but in a corner, and a small difference, are something."""
    assert degenerate_reason(values.astype(np.float32)) is None


@pytest.mark.parametrize("side", [1, 3, 4, 7, 224])
def test_even_map_has_a_sixteenth_in_each_corner(side: int) -> None:
    """A constant map has 0.25 * 0.25 of its mass in a corner, whatever its size."""
    assert corner_share(np.ones((side, side), np.float32)) == pytest.approx(0.0625, abs=1e-6)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, -1), (-1, 0), (-1, -1)])
def test_one_corner_begins_at_nine_tenths(row: int, column: int) -> None:
    """90 % of the mass in any one of the corners is degenerate, 89 % is not; nor is it shared by two corners."""
    values = np.zeros((8, 8), np.float32)
    values[row, column], values[4, 4] = 90, 10
    assert corner_share(values) == pytest.approx(0.9)
    assert degenerate_reason(values) == "one_corner"
    values[row, column], values[4, 4] = 89, 11
    assert degenerate_reason(values) is None
    values[row, column], values[4, 4], values[row, -1 - column] = 50, 0, 50
    assert degenerate_reason(values) is None


def test_a_cell_the_corner_cuts_counts_in_part() -> None:
    """In 3 x 3 the corner square is 3/4 of a cell each way: 9/16 of the corner cell."""
    assert corner_share(one_cell(3, 0, 0)) == pytest.approx(9 / 16)


def test_rank_correlation_is_spearmans() -> None:
    """Any rising function of the values: 1; falling: -1; by hand with ties."""
    values = np.random.default_rng(1).random((5, 7)).astype(np.float32)
    assert rank_correlation(values, np.exp(values)) == pytest.approx(1)
    assert rank_correlation(values, -values) == pytest.approx(-1)
    # ranks 0.5 0.5 2 3 and 0 1 2 3: covariance 4.5, norms sqrt(4.5) and sqrt(5)
    found = rank_correlation(np.array([1, 1, 2, 3], np.float32), np.array([1, 2, 3, 4], np.float32))
    assert found == pytest.approx(4.5 / np.sqrt(4.5 * 5))


@pytest.mark.parametrize("values", [np.ones(4), np.array([1, 2, np.nan, 3])], ids=["constant", "nan"])
def test_what_has_no_order_has_no_correlation(values: np.ndarray) -> None:
    """None, from either side; for nothing at all too."""
    order = np.arange(4, dtype=np.float32)
    assert rank_correlation(values.astype(np.float32), order) is None
    assert rank_correlation(order, values.astype(np.float32)) is None
    assert rank_correlation(order[:0], order[:0]) is None


def test_map_with_a_peak_is_described() -> None:
    """A usable map keeps its values and carries method, border share and flag."""
    values = np.zeros((10, 10), np.float32)
    values[4, 4] = 1
    described = describe(values)
    assert described.method == "grad_cam"
    assert described.values is values
    assert described.border_share == 0
    assert not described.is_degenerate
