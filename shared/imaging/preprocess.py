"""From film to network input: the only preprocessing of training and serving, by name.

A name is part of a model's manifest. A preprocessing with a changed step gets a new name, and the old one stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from shared.arrays import FloatArray, Pixels
from shared.errors import ManifestMismatch
from shared.imaging.polarity import is_inverted

WINDOW_PERCENTILES: Final = (0.5, 99.5)
"""Grey values outside these percentiles are clipped, so markers and borders do not set the window (DECISIONS 5)."""

DETAIL: Final = 4 / 7
"""The share of the input's sides to which `grey_soft_v1` reduces detail."""


def squash(pixels: Pixels, height_px: int, width_px: int) -> FloatArray:
    """Resize to (height_px, width_px) without keeping the aspect ratio, as for the training films.

    Args:
        pixels: (H, W) uint8 or uint16.

    Returns:
        (height_px, width_px) float32 in the units of `pixels`.
    """
    return np.asarray(_resize(pixels, height_px, width_px), dtype=np.float32)


def _resize(pixels: Pixels, height_px: int, width_px: int) -> Image.Image:
    """Resize as `squash`, to a picture: of mode 'L' where the film has 8 bits, else 'F'."""
    source = pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)
    picture = Image.fromarray(source)
    if picture.size != (width_px, height_px):
        picture = picture.resize((width_px, height_px), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return picture


def window(values: FloatArray) -> FloatArray:
    """Stretch the range between two percentiles to [0, 1]; a constant picture becomes zeros.

    Args:
        values: (h, w) float32, any range.

    Returns:
        (h, w) float32 in [0, 1].
    """
    low, high = np.percentile(values, WINDOW_PERCENTILES)
    if high <= low:
        return np.zeros_like(values)
    stretched: FloatArray = np.clip((values - low) / (high - low), 0.0, 1.0).astype(np.float32)
    return stretched


def window_8_bits(picture: Image.Image) -> FloatArray:
    """Return exactly what `window` returns for an 8-bit picture, by its histogram: in a fifth of the time.

    Args:
        picture: of mode 'L'.
    """
    windowed: FloatArray = window_levels(np.asarray(picture.histogram()))[np.asarray(picture)]
    return windowed


def window_levels(counts: npt.NDArray[np.int64]) -> FloatArray:
    """Return exactly what `window` returns for each grey level of a picture.

    Args:
        counts: (levels,) the number of pixels of each level; not all zero.

    Returns:
        (levels,) float32 in [0, 1]; zeros where the picture is constant.
    """
    low, high = _percentiles(np.cumsum(counts))
    if high <= low:
        return np.zeros(len(counts), np.float32)
    levels = np.arange(len(counts), dtype=np.float32)
    windowed: FloatArray = np.clip((levels - low) / (high - low), 0.0, 1.0).astype(np.float32)
    return windowed


def _percentiles(ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the `WINDOW_PERCENTILES` exactly as `numpy.percentile`: linear between neighbours, same rounding.

    Args:
        ranks: (levels,) the number of pixels that are at most as bright as each grey level.
    """
    positions = (ranks[-1] - 1) * np.true_divide(WINDOW_PERCENTILES, 100)
    before = np.floor(positions)
    share = positions - before
    lower, upper = (np.searchsorted(ranks, rank, side="right") for rank in (before, before + 1))
    step = upper - lower
    is_nearer_below = share < 0.5  # noqa: PLR2004 - numpy rounds from the nearer side
    levels: npt.NDArray[np.float64] = np.where(is_nearer_below, lower + step * share, upper - step * (1 - share))
    return levels


def grey_window_v1(pixels: Pixels, height_px: int, width_px: int) -> FloatArray:
    """Apply `squash`, then `window`. Returns (height_px, width_px, 1) float32 in [0, 1]."""
    picture = _resize(pixels, height_px, width_px)
    windowed = window_8_bits(picture) if picture.mode == "L" else window(np.asarray(picture, np.float32))
    return windowed[:, :, np.newaxis]


def grey_soft_v1(pixels: Pixels, height_px: int, width_px: int) -> FloatArray:
    """Squash to 4/7 of the sides, enlarge, then window: the detail of 128 x 128 pixels in 224 x 224.

    Finer detail reflects a film's acquisition, resizing and encoding more than its content (DECISIONS 14).
    """
    small = squash(pixels, round(height_px * DETAIL), round(width_px * DETAIL))
    enlarged = Image.fromarray(small).resize((width_px, height_px), Image.Resampling.BICUBIC)
    return window(np.asarray(enlarged, np.float32))[:, :, np.newaxis]


def grey_scale_v1(pixels: Pixels, height_px: int, width_px: int) -> FloatArray:
    """Squash, then divide by the type's largest value: the 2020 study's 1/255, without its copies for RGB channels."""
    full_scale = float(np.iinfo(pixels.dtype).max)
    scaled = squash(pixels, height_px, width_px) / np.float32(full_scale)
    clipped: FloatArray = np.clip(scaled, 0.0, 1.0)[:, :, np.newaxis]
    return clipped


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """One named preprocessing.

    Attributes:
        grey: (pixels, height_px, width_px) to (height_px, width_px, 1) float32 in [0, 1].
        corrects_polarity: whether an inverted film is turned back; the sides must then be multiples of 8.
    """

    grey: Callable[[Pixels, int, int], FloatArray]
    corrects_polarity: bool = False


PREPROCESSINGS: Final[Mapping[str, Preprocessing]] = MappingProxyType(
    {
        "grey_window_v1": Preprocessing(grey_window_v1),
        "grey_window_v2": Preprocessing(grey_window_v1, corrects_polarity=True),
        "grey_soft_v1": Preprocessing(grey_soft_v1, corrects_polarity=True),
        "grey_scale_v1": Preprocessing(grey_scale_v1),
    }
)


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """A film ready for the network, with facts about the film that preprocessing finds.

    Attributes:
        values: (H, W, C) float32 in [0, 1], exactly the tensor that is classified.
        elongation: the film's longer side over its shorter one, >= 1.
        was_inverted: the film was shown inverted and has been turned back.
    """

    values: FloatArray
    elongation: float
    was_inverted: bool


def get_preprocessing(name: str) -> Preprocessing:
    """Look a preprocessing up by its manifest name.

    Raises:
        ManifestMismatch: this build has no preprocessing of this name.
    """
    try:
        return PREPROCESSINGS[name]
    except KeyError:
        raise ManifestMismatch(f"This build has no preprocessing named '{name}'.") from None


def prepare(pixels: Pixels, name: str, input_shape: tuple[int, int, int]) -> NetworkInput:
    """Turn one film into one network input.

    Args:
        pixels: (H, W) uint8 or uint16.
        name: the manifest's `preprocessing`.
        input_shape: the manifest's (height, width, channels); channels is 1.
    """
    height_px, width_px, _ = input_shape
    chosen = get_preprocessing(name)
    values = chosen.grey(pixels, height_px, width_px)
    was_inverted = chosen.corrects_polarity and is_inverted(values[:, :, 0])
    elongation = max(pixels.shape) / min(pixels.shape)
    return NetworkInput(1 - values if was_inverted else values, elongation, was_inverted)


def preprocess(pixels: Pixels, name: str, input_shape: tuple[int, int, int]) -> FloatArray:
    """Return only the tensor of `prepare`: `input_shape` float32 in [0, 1]."""
    return prepare(pixels, name, input_shape).values


def stack(inputs: list[FloatArray]) -> npt.NDArray[np.float32]:
    """Stack inputs of one shape into a batch, (N, H, W, C) float32."""
    return np.stack(inputs).astype(np.float32, copy=False)
