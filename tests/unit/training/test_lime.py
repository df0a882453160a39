"""LIME against scores whose coefficients are known."""

from __future__ import annotations

import numpy as np
import pytest

from training.lime import Lime, lime

X = np.random.default_rng(1).random((32, 32, 1), np.float32)
HOW = Lime(blocks=4, samples=400, ridge=1e-6)


def shown(films: np.ndarray) -> np.ndarray:
    """(N, 4, 4): 1 where a block still shows the film, 0 where it is grey."""
    same = (films == X).reshape(len(films), 4, 8, 4, 8)
    return same.all(axis=(2, 4)).astype(np.float32)


def test_coefficients_of_an_additive_score_are_found() -> None:
    """A score that adds a number for each block shown gives these numbers back."""
    truth = np.random.default_rng(2).normal(size=(4, 4))
    found = lime(lambda films: 0.3 + (shown(films) * truth).sum(axis=(1, 2)), X, HOW, np.random.default_rng(3))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, truth, atol=1e-4)


def test_the_block_that_matters_stands_out() -> None:
    """A score that needs one block and is spoiled by another: the largest and the smallest coefficient."""

    def score(films: np.ndarray) -> np.ndarray:
        seen = shown(films)
        return 1 / (1 + np.exp(-(4 * seen[:, 1, 2] - 2 * seen[:, 3, 0])))

    found = lime(score, X, HOW, np.random.default_rng(3))
    assert np.unravel_index(found.argmax(), (4, 4)) == (1, 2)
    assert np.unravel_index(found.argmin(), (4, 4)) == (3, 0)


def test_hidden_blocks_take_the_films_mean_grey() -> None:
    """Every film asked about is the film itself or its mean grey, block by block; about half is hidden."""
    asked: list[np.ndarray] = []

    def look(films: np.ndarray) -> np.ndarray:
        asked.append(films)
        return np.zeros(len(films), np.float32)

    lime(look, X, HOW, np.random.default_rng(3))
    films = np.concatenate(asked)
    assert films.shape == (400, 32, 32, 1)
    assert films.dtype == np.float32
    assert ((films == X) | (films == X.mean(axis=(0, 1)))).all()
    assert (films[0] == X).all()
    assert shown(films).mean() == pytest.approx(0.5, abs=0.03)


def test_seed_decides() -> None:
    """The same draws, the same coefficients."""
    first, again, other = (
        lime(lambda films: shown(films)[:, 0, 0] ** 2, X, Lime(4, 30), np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
