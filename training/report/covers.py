"""Covers the relevant part of a film: the lungs, or everything except the border (Maguolo & Nanni 2021).

Covered pixels get the mean grey of the others, so that no tone of the covered part remains. There are no lung masks:
two fixed ellipses stand for the lungs, drawn by eye over the mean pictures of the training pools (150 films each). In
all seven pools they cover the lung fields except for a rim: 45 % of the picture, with much of the heart. They leave
the outer 10 % free.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from shared.arrays import Pixels

LUNG_CENTRES_X: Final = (0.29, 0.71)
LUNG_CENTRE_Y: Final = 0.47
LUNG_RADIUS_X: Final = 0.19
LUNG_RADIUS_Y: Final = 0.38
"""Shares of the film's width and height."""

BORDER_SHARE: Final = 0.10
"""Width of the border at each edge, as a share of the film's side."""

Mask = npt.NDArray[np.bool_]


def cover_lungs(pixels: Pixels) -> Pixels:
    """Return pixels (H, W) with both ellipses filled; the input where they would cover everything or nothing."""
    return _cover(pixels, lungs_mask(*pixels.shape))


def keep_border(pixels: Pixels) -> Pixels:
    """Return pixels (H, W) with all but the outer 10 % of each side filled; the input where nothing would be left."""
    return _cover(pixels, ~border_mask(*pixels.shape))


def lungs_mask(height_px: int, width_px: int) -> Mask:
    """Return a mask (H, W): whether the middle of the pixel is inside one of the two ellipses."""
    y = (np.arange(height_px) + 0.5)[:, np.newaxis] / height_px
    x = (np.arange(width_px) + 0.5)[np.newaxis, :] / width_px
    down = ((y - LUNG_CENTRE_Y) / LUNG_RADIUS_Y) ** 2
    left, right = (((x - centre) / LUNG_RADIUS_X) ** 2 + down <= 1 for centre in LUNG_CENTRES_X)
    inside: Mask = left | right
    return inside


def border_mask(height_px: int, width_px: int) -> Mask:
    """Return a mask (H, W): whether the pixel is in the outer 10 % of a side."""
    y, x = round(BORDER_SHARE * height_px), round(BORDER_SHARE * width_px)
    mask = np.ones((height_px, width_px), bool)
    mask[y : height_px - y, x : width_px - x] = False
    return mask


def _cover(pixels: Pixels, mask: Mask) -> Pixels:
    if mask.all() or not mask.any():
        return pixels
    covered = pixels.copy()
    covered[mask] = np.rint(pixels[~mask].mean())
    return covered
