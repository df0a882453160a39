"""Deriving the polarity weights: the sign tells a picture from its negative, and mirrored films weigh the same."""

from __future__ import annotations

import numpy as np

from training.polarity import fit_polarity


def test_weights_tell_films_from_their_negatives() -> None:
    """A bright middle column in noise: all signs right, also on fresh ones."""
    rng = np.random.default_rng(1)
    films = rng.normal(0, 1, (200, 8, 8)).astype(np.float32)
    films[:, :, 3:5] += 1
    films -= films.mean(axis=(1, 2), keepdims=True)
    weights = fit_polarity(films[:100])
    sums = (films[100:] * weights).sum(axis=(1, 2))
    assert (sums > 0).all()
    assert (weights[:, 3:5] > 0).all()
    assert weights[:, [0, 1, 6, 7]].mean() < 0


def test_weights_are_the_same_left_and_right() -> None:
    """However lopsided the films are."""
    films = np.random.default_rng(2).normal(0, 1, (50, 8, 8)).astype(np.float32)
    films[:, 0, 0] += 3
    weights = fit_polarity(films)
    np.testing.assert_allclose(weights, weights[:, ::-1], atol=1)
