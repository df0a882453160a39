"""Fits the input gate on features of an earlier row: a linear score against `negatives.py`, and a subspace.

A linear score on early features generalises to kinds of picture that it was not trained on. With one kind left out of
training it refused 97 to 100 % of that kind for rotated, zoomed, shuffled, noise and text pictures, 87 % for swapped
halves, 43 % for half films and 30 % for tiles, at a threshold that 99.5 % of the validation films and of their
augmented copies pass (measured 23 November 2026). A thumbnail's distance from its principal components did far worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from shared.arrays import FloatArray
from shared.imaging.preprocess import preprocess, squash, stack, window
from training.dataset import Example, ReadFilm
from training.features import CHUNK, Trunk
from training.negatives import draw_nothing, spoil_films
from training.recipe import Recipe
from worker.engine.gate import Gate, pool

SPOILED_FILMS: Final = 2000
DRAWN: Final = 300
DIRECTIONS: Final = 64
INVERSE_PENALTY: Final = 0.01
LEAST_SCALE: Final = 1e-3


def fit_gate(positives: FloatArray, negatives: FloatArray) -> Gate:
    """Return the gate fitted to features (N, D) of films and (M, D) of pictures that are no chest films."""
    mean, scale = positives.mean(axis=0), np.maximum(positives.std(axis=0), LEAST_SCALE)
    films, others = (positives - mean) / scale, (negatives - mean) / scale
    classifier = LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=500)
    classifier.fit(np.concatenate([films, others]), np.repeat([0, 1], [len(films), len(others)]))
    directions = np.linalg.svd(films, full_matrices=False)[2][:DIRECTIONS]
    arrays = (mean, scale, classifier.coef_[0], classifier.intercept_, directions)
    return Gate(*(np.ascontiguousarray(array, np.float32) for array in arrays))


def negative_features(
    examples: Sequence[Example], recipe: Recipe, shape: tuple[int, int, int], trunk: Trunk, read: ReadFilm
) -> FloatArray:
    """Return features (M, D) of pictures that are no frontal chest films, made from up to 2,000 of `examples`.

    The pictures go through the recipe's preprocessing, as an upload does.
    """
    rng = np.random.default_rng((recipe.seed, len(examples)))
    chosen = rng.permutation(len(examples))[:SPOILED_FILMS]
    height_px, width_px, _ = shape
    films = [window(squash(read(examples[place].path), height_px, width_px)) for place in chosen]
    drawn = (*spoil_films(films, rng), *draw_nothing(DRAWN, height_px, rng))
    pictures = [preprocess(np.rint(255 * picture).astype(np.uint8), recipe.preprocessing, shape) for picture in drawn]
    chunks = (pictures[start : start + CHUNK] for start in range(0, len(pictures), CHUNK))
    return np.concatenate([pool(trunk(stack(chunk)).astype(np.float32)) for chunk in chunks])


def pooled(stored: npt.NDArray[np.floating], early: Trunk) -> FloatArray:
    """Return the gate's features (N * F, D) of stored trunk features (N, F, h, w, C).

    Args:
        early: the rows from the trunk to the gate's row.
    """
    rows = stored.reshape(-1, *stored.shape[2:])
    chunks = (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
    return np.concatenate([pool(np.asarray(early(chunk.astype(np.float32)), np.float32)) for chunk in chunks])
