"""Inverted films are told by their thumbnail, and turned back by the preprocessing that says so."""

from __future__ import annotations

import numpy as np
import pytest

from shared import samples
from shared.arrays import Pixels
from shared.imaging import polarity
from shared.imaging.decode import decode
from shared.imaging.preprocess import prepare

SHAPE = (224, 224, 1)


def sample(index: int) -> Pixels:
    """One of the twelve sample films."""
    return decode(samples.paths()[index].read_bytes()).pixels


def test_the_thumbnail_is_the_mean_of_each_cell_less_their_mean() -> None:
    """16 x 8 pixels: each cell is two rows high and one column wide."""
    values = np.arange(128, dtype=np.float32).reshape(16, 8)
    found = polarity.thumbnail(values)
    assert found.shape == (8, 8)
    assert found[0, 0] == pytest.approx(4 - 63.5)
    assert float(found.mean()) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("index", range(12))
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_an_inverted_sample_is_turned_back(index: int, dtype: str) -> None:
    """Film and negative become the same tensor but for rounding; only the negative is told as turned."""
    film = sample(index).astype(dtype) * (257 if dtype == "uint16" else 1)
    negative = np.iinfo(film.dtype).max - film
    first, second = (prepare(pixels, "grey_window_v2", SHAPE) for pixels in (film, negative))
    assert (first.was_inverted, second.was_inverted) == (False, True)
    assert np.abs(first.values - second.values).max() < 0.02


def test_the_older_preprocessing_leaves_polarity_alone() -> None:
    """`grey_window_v1` is what it was: a negative stays one."""
    film = prepare(255 - sample(0), "grey_window_v1", SHAPE)
    assert not film.was_inverted
    assert np.abs(film.values - prepare(sample(0), "grey_window_v1", SHAPE).values).mean() > 0.2


def test_a_blank_picture_is_not_called_inverted() -> None:
    """Zero on the balance is not below zero."""
    assert not polarity.is_inverted(np.full((224, 224), 0.5, np.float32))


def test_elongation_is_the_longer_side_over_the_shorter() -> None:
    """300 x 100 and 100 x 300 are both 3."""
    for shape in ((300, 100), (100, 300)):
        assert prepare(np.zeros(shape, np.uint8), "grey_window_v2", SHAPE).elongation == pytest.approx(3)
