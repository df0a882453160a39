"""Pictures for the reader: the film as grey PNG, and a saliency map as a colour overlay for it.

Pictures are drawn on request from stored maps, which are never changed. For measurements, read the stored map.
"""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from shared.arrays import FloatArray, Pixels
from shared.errors import WrongShape
from shared.imaging.preprocess import window_levels

MAX_OVERLAY_SIDE_PX: Final = 1024
MAX_ALPHA: Final = 0.65
"""At the map's highest value a third of the film still shows through."""
PIXEL_PERCENTILE: Final = 99.0
FAST_COMPRESSION: Final = 1
"""zlib's level: a 1024 x 1024 film takes a quarter of the time of level 6 and is a fifth larger."""
_LEVELS: Final = 2**16
_STRIP_ROWS: Final = 64

INFERNO: Final = np.array(
    [
        (0, 0, 4),
        (11, 7, 36),
        (33, 12, 74),
        (61, 9, 101),
        (87, 16, 110),
        (113, 25, 110),
        (138, 34, 106),
        (163, 44, 97),
        (188, 55, 84),
        (210, 70, 68),
        (228, 90, 49),
        (241, 115, 29),
        (249, 142, 9),
        (252, 172, 17),
        (249, 203, 53),
        (242, 234, 105),
        (252, 255, 164),
    ],
    np.uint8,
)
"""17 evenly spaced colours of matplotlib's 'inferno' (N. Smith and S. van der Walt, released as CC0), sRGB; linear
interpolation between them stays within 7 of 255 of the original's 256 colours."""


def heatmap_png(saliency: FloatArray, width_px: int, height_px: int) -> bytes:
    """Draw a saliency map as an overlay for a film.

    Colour and opacity both grow with the value: zero is fully transparent, so the film is visible where the map is
    zero. The map is enlarged bicubically, and clipped to [0, 1] where that overshoots.

    Args:
        saliency: (h, w) float32 in [0, 1].
        width_px, height_px: of the film; the overlay has its shape, scaled down to `MAX_OVERLAY_SIDE_PX`.

    Returns:
        A PNG with 256 colours and an opacity for each: the same picture as RGBA at a fraction of the size.

    Raises:
        WrongShape: not two-dimensional, empty, or with values that are not finite.
    """
    if saliency.ndim != 2 or not saliency.size or not np.isfinite(saliency).all():  # noqa: PLR2004 - dimensions
        raise WrongShape("The saliency map cannot be drawn.", shape=saliency.shape)
    size = _fit(width_px, height_px, MAX_OVERLAY_SIDE_PX)
    enlarged = Image.fromarray(saliency.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    levels = np.rint(np.clip(np.asarray(enlarged), 0.0, 1.0) * 255).astype(np.uint8)
    overlay = Image.fromarray(levels)
    colours = _overlay_colours()
    overlay.putpalette(colours[:, :3].tobytes())
    return _to_png(overlay, transparency=colours[:, 3].tobytes())


def stretch(saliency: FloatArray) -> FloatArray:
    """Make a map of single pixels visible: divide it by its 99th percentile and clip it.

    A few pixels of a gradient are far above all others, which would be drawn almost transparent. PAIR's saliency
    library draws such maps likewise (`VisualizeImageGrayscale`, percentile 99).

    Args:
        saliency: (h, w) float32 in [0, 1], not empty.

    Returns:
        (h, w) float32 in [0, 1]; the map itself where that percentile is zero.
    """
    top = np.percentile(saliency, PIXEL_PERCENTILE)
    if not top > 0:
        return saliency
    stretched: FloatArray = np.clip(saliency / top, 0.0, 1.0).astype(np.float32)
    return stretched


def film_png(pixels: Pixels, max_side_px: int | None = None) -> bytes:
    """Draw a film as an 8-bit grey PNG.

    Args:
        pixels: (H, W) uint8, drawn unchanged, or uint16, windowed between two percentiles to 8 bits.
        max_side_px: larger films are scaled down to this; None keeps the size.

    Returns:
        A grey PNG without any metadata.
    """
    height_px, width_px = pixels.shape
    if pixels.dtype == np.uint16:
        pixels = _to_8_bits(pixels)
    picture = Image.fromarray(pixels)
    size = _fit(width_px, height_px, max_side_px or max(width_px, height_px))
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    return _to_png(picture)


def _to_8_bits(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Window a film by its histogram, a strip of rows at a time, so that only the 8-bit picture takes more memory.

    Args:
        pixels: (H, W) uint16.

    Returns:
        (H, W) uint8: `window` times 255, rounded.
    """
    strips = [slice(top, top + _STRIP_ROWS) for top in range(0, len(pixels), _STRIP_ROWS)]
    counts = np.zeros(_LEVELS, np.int64)
    for rows in strips:
        counts += np.bincount(pixels[rows].ravel(), minlength=_LEVELS)
    table = np.rint(window_levels(counts) * 255).astype(np.uint8)
    shown = np.empty(pixels.shape, np.uint8)
    for rows in strips:
        shown[rows] = table[pixels[rows]]
    return shown


def _fit(width_px: int, height_px: int, max_side_px: int) -> tuple[int, int]:
    """Return the size within a square of `max_side_px`, same aspect ratio, never enlarged, at least 1 pixel a side."""
    scale = min(1.0, max_side_px / max(width_px, height_px))
    return max(1, round(width_px * scale)), max(1, round(height_px * scale))


def _overlay_colours() -> npt.NDArray[np.uint8]:
    """Return the colour and the opacity of each level, (256, 4) uint8."""
    levels = np.linspace(0.0, 1.0, 256)
    anchors = np.linspace(0.0, 1.0, len(INFERNO))
    channels = [np.interp(levels, anchors, INFERNO[:, channel]) for channel in range(3)]
    return np.rint(np.stack([*channels, levels * MAX_ALPHA * 255], axis=1)).astype(np.uint8)


def _to_png(picture: Image.Image, transparency: bytes | None = None) -> bytes:
    with io.BytesIO() as file:
        picture.save(file, "PNG", compress_level=FAST_COMPRESSION, transparency=transparency)
        return file.getvalue()
