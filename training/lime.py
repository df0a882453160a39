"""LIME on a fixed grid of blocks (Ribeiro et al. 2016, arXiv 1602.04938): the 2020 study's second kind of picture.

For comparison in training only: it takes hundreds of calls a film, and another seed gives another map. As in the
authors' code, half of the blocks are hidden at random, the label's probability is fitted by a ridge regression, and
copies with fewer hidden blocks weigh more. A hidden block takes the film's mean grey, as in `worker/engine/judge.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.linear_model import Ridge

from shared.arrays import FloatArray

BATCH: Final = 50

Scores = Callable[[FloatArray], FloatArray]
"""Inputs (N, H, W, C) to one label's probability (N,)."""


@dataclass(frozen=True, slots=True)
class Lime:
    """Parameters: blocks a side, copies with hidden blocks a film, width of the similarity kernel, ridge penalty."""

    blocks: int = 8
    samples: int = 500
    kernel_width: float = 0.25
    ridge: float = 1.0


def lime(scores: Scores, x: FloatArray, how: Lime, rng: np.random.Generator) -> FloatArray:
    """Return how much each block adds to the score: (blocks, blocks) float32, signed, in units of probability.

    These are the coefficients of a ridge regression of the score on z in {0, 1}^d, the shown blocks, each copy weighted
    by sqrt(exp(-d^2 / kernel_width^2)) with d(z) = 1 - cosine(z, all ones), as in the authors' code.

    Args:
        scores: one label's probability.
        x: (H, W, C) float32 in [0, 1].
        how: the parameters.
        rng: draws the hidden blocks.
    """
    shown = rng.integers(0, 2, (how.samples, how.blocks**2)).astype(bool)
    shown[0] = True
    rows, columns = (np.arange(side) * how.blocks // side for side in x.shape[:2])
    is_shown = shown[:, rows[:, np.newaxis] * how.blocks + columns][..., np.newaxis]
    grey = x.mean(axis=(0, 1))
    probabilities = np.concatenate([scores(np.where(part, x, grey).astype(np.float32)) for part in _batches(is_shown)])
    distance = 1 - np.sqrt(shown.mean(axis=1))
    weights = np.sqrt(np.exp(-(distance**2) / how.kernel_width**2))
    fitted = Ridge(alpha=how.ridge).fit(shown.astype(np.float64), probabilities, sample_weight=weights)
    return fitted.coef_.reshape(how.blocks, how.blocks).astype(np.float32)


def _batches(masks: np.ndarray) -> list[np.ndarray]:
    return [masks[start : start + BATCH] for start in range(0, len(masks), BATCH)]
