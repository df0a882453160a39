"""Stored forms: the film first, then its copies, in order; and how often each film is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.imaging.preprocess import preprocess
from training.dataset import Example
from training.features import Forms, draw_weights, store_features
from training.fit import ignore
from training.recipes import find_recipe
from training.synth import draw_film

RECIPE = find_recipe("tiny")
SHAPE = (64, 64, 1)


def read(path: Path) -> np.ndarray:
    """A drawn film for each number."""
    return draw_film("normal", np.random.default_rng(int(path.name)))


def make_row(number: int, label: str = "normal", pool: str = "") -> Example:
    """A row whose film is drawn."""
    return Example(Path(str(number)), label, str(number), "train", pool, "row")


def test_film_comes_first_and_copies_after_it() -> None:
    """Form 0 is the preprocessed film itself; the others differ from it."""
    rows = [make_row(number) for number in range(40)]
    stored = store_features(rows, Forms(RECIPE, SHAPE, read), lambda x: x, ignore, copies=2)
    assert stored.shape == (40, 3, *SHAPE)
    assert stored.dtype == np.float16
    plain = preprocess(read(Path("37")), RECIPE.preprocessing, SHAPE)
    np.testing.assert_allclose(stored[37, 0], plain, atol=1e-3)
    assert np.abs(stored[37, 1] - stored[37, 0]).max() > 0.01


def test_progress_reaches_the_end() -> None:
    """The last report is all of all."""
    seen: list[tuple[str, int, int]] = []
    rows = [make_row(number) for number in range(3)]
    store_features(rows, Forms(RECIPE, SHAPE, read), lambda x: x, lambda *step: seen.append(step), copies=1)
    assert seen[-1][1:] == (6, 6)


ROWS = [make_row(0), make_row(1), make_row(2), make_row(3, "covid19", "a"), make_row(4, "covid19", "b")]
ROWS += [make_row(5, "covid19", "b")]


@pytest.mark.parametrize(
    ("balance", "expected"),
    [
        ("none", [1 / 6] * 6),
        ("label", [1 / 6, 1 / 6, 1 / 6, 1 / 6, 1 / 6, 1 / 6]),
        ("pool", [1 / 6, 1 / 6, 1 / 6, 1 / 4, 1 / 8, 1 / 8]),
    ],
)
def test_films_are_drawn_evenly_by_what_the_recipe_says(balance: str, expected: list[float]) -> None:
    """Films, labels, or pools within labels get equal shares."""
    np.testing.assert_allclose(draw_weights(ROWS, balance), expected)


def test_a_small_class_is_drawn_as_often_as_a_large_one() -> None:
    """One film against three: half of all draws."""
    np.testing.assert_allclose(draw_weights(ROWS[:4], "label"), [1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_pools_are_drawn_by_their_shares() -> None:
    """Pool '' weighs 1, a and b a half each; within a pool films are even."""
    found = draw_weights(ROWS, "shares", {"a": 0.5, "b": 0.5})
    np.testing.assert_allclose(found, [1 / 6, 1 / 6, 1 / 6, 1 / 4, 1 / 8, 1 / 8])
