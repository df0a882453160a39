"""Changes of a film that should not change its verdict: tone, codec, rotation, framing, polarity.

Each maps 8-bit grey pixels (H, W) to 8-bit grey pixels, rounded and clipped to 0..255 as in a file on disk. Mirroring
is not among them: a mirrored chest is another chest. Called by `training/report/robustness.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

import numpy as np
from PIL import Image

from training.augment import Grey, encode, to_grey

JPEG_QUALITY: Final = 40
KEPT_SHARE: Final = 0.95
"""Share of each side that the crop keeps."""

Change = Callable[[Grey], Grey]


def brighten(pixels: Grey, factor: float) -> Grey:
    """Multiply each grey value by `factor`."""
    return to_grey(pixels.astype(np.float32) * np.float32(factor))


def stretch(pixels: Grey, factor: float) -> Grey:
    """Multiply each grey value's distance from the film's mean by `factor`."""
    values = pixels.astype(np.float32)
    mean = values.mean()
    return to_grey(mean + (values - mean) * np.float32(factor))


def bend(pixels: Grey, gamma: float) -> Grey:
    """Raise grey values in [0, 1] to the power of `gamma`."""
    return to_grey(255 * (pixels.astype(np.float32) / np.float32(255)) ** np.float32(gamma))


def rotate(pixels: Grey, degrees: float) -> Grey:
    """Rotate anti-clockwise about the middle within the old frame; corners repeat the film's edge; bilinear."""
    height, width = pixels.shape
    margin = 1 + int(np.ceil(max(height, width) * abs(np.sin(np.deg2rad(degrees)))))
    wide = Image.fromarray(np.pad(pixels, margin, mode="edge"))
    turned = np.asarray(wide.rotate(degrees, Image.Resampling.BILINEAR), np.uint8)
    return np.ascontiguousarray(turned[margin : margin + height, margin : margin + width])


def crop(pixels: Grey, kept: float) -> Grey:
    """Keep the middle share `kept` of each side, at least one pixel."""
    height, width = pixels.shape
    rows, columns = max(1, round(height * kept)), max(1, round(width * kept))
    top, left = (height - rows) // 2, (width - columns) // 2
    return np.ascontiguousarray(pixels[top : top + rows, left : left + columns])


def invert(pixels: Grey) -> Grey:
    """Invert the polarity."""
    return to_grey(255 - pixels.astype(np.float32))


CHANGES: Final[Mapping[str, Change]] = MappingProxyType(
    {
        "brightness x0.8": partial(brighten, factor=0.8),
        "brightness x0.9": partial(brighten, factor=0.9),
        "brightness x1.1": partial(brighten, factor=1.1),
        "brightness x1.2": partial(brighten, factor=1.2),
        "contrast x0.8": partial(stretch, factor=0.8),
        "contrast x1.2": partial(stretch, factor=1.2),
        "gamma 0.8": partial(bend, gamma=0.8),
        "gamma 1.25": partial(bend, gamma=1.25),
        "JPEG quality 40": partial(encode, quality=JPEG_QUALITY),
        "rotated 5 degrees left": partial(rotate, degrees=5.0),
        "rotated 5 degrees right": partial(rotate, degrees=-5.0),
        "cropped by 5 %": partial(crop, kept=KEPT_SHARE),
        "inverted polarity": invert,
    }
)
"""Name in the report to the change."""
