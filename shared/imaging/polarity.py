"""Detects an inverted film (bones dark, air bright) by a weighted sum of its 8 x 8 thumbnail. Pure numpy.

The weights, in hundredths, are those of a logistic regression without intercept between training films, mirrored ones
included, and their negatives, by `training/polarity.py`. On 709 validation films, and on 709 altered copies of them,
the sum's sign was right every time (measured 23 November 2026); the sign of the correlation with a mean film was wrong
on 0 and 2.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from shared.arrays import FloatArray

SIDE: Final = 8
"""The thumbnail's number of cells in each direction."""

WEIGHTS: Final = (
    (-32, -21, -11, 15, 15, -11, -21, -32),
    (-2, 4, -8, 9, 9, -8, 4, -2),
    (4, 0, -22, 4, 4, -22, 0, 4),
    (-1, -5, -19, 12, 12, -19, -5, -1),
    (-7, -7, -6, 25, 25, -6, -7, -7),
    (-15, -5, 6, 32, 32, 6, -5, -15),
    (-23, 0, 17, 33, 33, 17, 0, -23),
    (-29, 2, 21, 31, 31, 21, 2, -29),
)


def thumbnail(values: FloatArray) -> FloatArray:
    """Return the means of 8 x 8 cells of (h, w), h and w multiples of 8, minus their mean: (8, 8) float32."""
    height, width = values.shape
    cells = values.reshape(SIDE, height // SIDE, SIDE, width // SIDE).mean(axis=(1, 3), dtype=np.float32)
    centred: FloatArray = (cells - cells.mean()).astype(np.float32)
    return centred


def is_inverted(values: FloatArray) -> bool:
    """Whether the film looks like the negative of a chest film; False for a constant picture.

    Args:
        values: (h, w) float32, h and w multiples of 8, any range.
    """
    return bool((thumbnail(values) * np.array(WEIGHTS, np.float32)).sum() < 0)
