"""From a DICOM's stored values to the grey that a viewer shows, by a table over all possible values.

A stored value has at most 16 bits, so all steps - sign, modality (rescale or table), values of interest (table or
window), MONOCHROME1, padding - are computed once for each value, not for each pixel. Pure numpy; called by `dicom`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.arrays import Pixels
from shared.errors import UnreadableImage
from shared.imaging.dicom_file import Elements

Numbers = npt.NDArray[np.float64]

_PADDING, _PADDING_LIMIT = 0x00280120, 0x00280121
_CENTRE, _WIDTH, _CURVE = 0x00281050, 0x00281051, 0x00281056
_INTERCEPT, _SLOPE = 0x00281052, 0x00281053
_MODALITY_TABLE, _INTEREST_TABLE = 0x00283000, 0x00283010
_DESCRIPTOR, _ENTRIES = 0x00283002, 0x00283006
_FULL_TABLE: Final = 65_536
"""The number of entries that a descriptor's 0 means (PS3.3, C.11.1.1.1)."""
_BYTE, _WORD = 255, 65_535
_NEARLY_WHOLE: Final = 1e-6
_STEEPEST: Final = 700.0
"""A limit below which exp does not overflow."""
STRIP_ROWS: Final = 64
_BAD_TABLE: Final = "The DICOM file's lookup table is damaged; export the film again."


@dataclass(frozen=True, slots=True)
class Layout:
    """The place of a stored value in the bits of a pixel.

    Attributes:
        bits_stored: 1 to 16.
        shift: the number of bits below the value.
        is_signed: whether the value is in two's complement.
    """

    bits_stored: int
    shift: int
    is_signed: bool

    def values(self) -> Numbers:
        """Return the value of each bit pattern, (2^bits_stored,) float64."""
        patterns = np.arange(2**self.bits_stored, dtype=np.float64)
        if self.is_signed:
            patterns[len(patterns) // 2 :] -= len(patterns)
        return patterns


def grey_table(elements: Elements, layout: Layout, *, is_inverted: bool) -> Pixels:
    """Return the grey of each possible stored value, black to white.

    Without a table or window of interest the whole range of possible values is shown, whatever part the film uses.

    Args:
        is_inverted: MONOCHROME1: the smallest value is white.

    Returns:
        (2^bits_stored,) by the bit pattern: uint8 where that loses nothing, else uint16.

    Raises:
        UnreadableImage: a slope that is 0 or no number; a table that is too short.
    """
    stored = layout.values()
    shown = _of_interest(elements, _rescale(elements, stored, layout), layout)
    if is_inverted:
        shown = 1.0 - shown
    shown[_is_padding(elements, stored, layout)] = 0.0
    return _quantise(shown, layout.bits_stored)


def apply(table: Pixels, stored: Pixels, layout: Layout) -> Pixels:
    """Return the grey of each pixel, computed a strip of rows at a time.

    Args:
        table: from `grey_table`.
        stored: (H, W) uint8 or uint16, as stored, including bits around the value.

    Returns:
        (H, W) of the table's type.
    """
    patterns = np.arange(2 ** (8 * stored.dtype.itemsize))
    shown = table[(patterns >> layout.shift) & (len(table) - 1)]
    grey = np.empty(stored.shape, table.dtype)
    for top in range(0, len(stored), STRIP_ROWS):
        rows = slice(top, top + STRIP_ROWS)
        np.take(shown, stored[rows], out=grey[rows], mode="clip")  # skips the bounds check; no index is out of bounds
    return grey


def _rescale(elements: Elements, stored: Numbers, layout: Layout) -> Numbers:
    """Apply the modality transform (PS3.3, C.11.1): a table where there is one, else slope * value + intercept."""
    item = elements.item(_MODALITY_TABLE)
    if item is not None:
        entries, _ = _look_up(item, stored, is_signed=layout.is_signed)
        return entries
    slope, intercept = elements.decimal(_SLOPE), elements.decimal(_INTERCEPT)
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        rescaled: Numbers = slope * stored + intercept
    if not slope or not np.isfinite(rescaled).all():
        raise UnreadableImage("The DICOM file's rescale slope or intercept is no usable number; export the film again.")
    return rescaled


def _of_interest(elements: Elements, values: Numbers, layout: Layout) -> Numbers:
    """Map the values of interest to [0, 1] (PS3.3, C.11.2): by the first table, else the first window, else all values.

    An invalid window, of width 0 for example, is ignored, as viewers do.
    """
    item = elements.item(_INTEREST_TABLE)
    if item is not None:
        entries, top = _look_up(item, values, is_signed=layout.is_signed or bool(values.min() < 0))
        return _clipped(entries / top)
    centre, width = elements.decimal(_CENTRE), elements.decimal(_WIDTH)
    curve = elements.text(_CURVE)
    least = 0.0 if curve in {"SIGMOID", "LINEAR_EXACT"} else 1.0
    if centre is None or width is None or not math.isfinite(centre) or not least <= width < math.inf or not width:
        low, high = float(values.min()), float(values.max())
        return (values - low) / (high - low or 1.0)
    return _window(values, centre, width, curve)


def _window(values: Numbers, centre: float, width: float, curve: str) -> Numbers:
    """Apply a window, to [0, 1] (PS3.3, C.11.2.1.2 and .3).

    LINEAR, of width w about c: (x - (c - 0.5)) / (w - 1) + 0.5; of width 1 a step above c - 0.5.
    LINEAR_EXACT: (x - c) / w + 0.5. SIGMOID: 1 / (1 + exp(-4 (x - c) / w)).
    """
    if curve == "SIGMOID":
        steep: Numbers = np.exp(np.clip(-4.0 * (values - centre) / width, -_STEEPEST, _STEEPEST))
        return 1.0 / (1.0 + steep)
    if curve == "LINEAR_EXACT":
        return _clipped((values - centre) / width + 0.5)
    if width == 1.0:
        return (values > centre - 0.5).astype(np.float64)
    return _clipped((values - (centre - 0.5)) / (width - 1.0) + 0.5)


def _clipped(values: Numbers) -> Numbers:
    """Clip values to [0, 1]."""
    clipped: Numbers = np.clip(values, 0.0, 1.0)
    return clipped


def _look_up(item: Elements, values: Numbers, *, is_signed: bool) -> tuple[Numbers, float]:
    """Return a table's entry for each value, and its bits' largest value; values beyond an end get the end's entry.

    Args:
        is_signed: whether the table's first value is signed, where the file does not name its VR.
    """
    vr = item.by_tag[_DESCRIPTOR].vr if _DESCRIPTOR in item.by_tag else b""
    descriptor = item.words(_DESCRIPTOR)
    if len(descriptor) != 3:  # noqa: PLR2004  entries, first value, bits
        raise UnreadableImage(_BAD_TABLE)
    count, first, bits = descriptor[0] or _FULL_TABLE, descriptor[1], descriptor[2]
    if vr == b"SS" or (vr != b"US" and is_signed):
        first -= 2 * (first & 0x8000)
    data = item.raw(_ENTRIES)
    if len(data) in {count, count + 1} and count > 1:  # entries of 8 bits, padded to an even number
        entries = np.frombuffer(data, np.uint8, count)
    elif len(data) >= 2 * count:
        entries = np.frombuffer(data, "<u2" if item.is_little else ">u2", count).astype(np.uint16)
    else:
        raise UnreadableImage(_BAD_TABLE)
    indices = np.clip(np.rint(values) - first, 0, count - 1).astype(np.intp)
    return entries[indices].astype(np.float64), float(2 ** min(max(bits, 1), 16) - 1)


def _is_padding(elements: Elements, stored: Numbers, layout: Layout) -> npt.NDArray[np.bool_]:
    """Return which stored values are padding around the film (PS3.3, C.7.5.1.1.2); they are shown black."""
    ends = [
        elements.words(tag, is_signed=layout.is_signed)[0] for tag in (_PADDING, _PADDING_LIMIT) if elements.words(tag)
    ]
    if not elements.words(_PADDING):
        return np.zeros(stored.shape, np.bool_)
    return (stored >= min(ends)) & (stored <= max(ends))


def _quantise(shown: Numbers, bits_stored: int) -> Pixels:
    """Quantise values in [0, 1] to 8 bits where that loses nothing, else to 16."""
    bytes_ = shown * _BYTE
    if bits_stored <= 8 and np.abs(bytes_ - np.rint(bytes_)).max() < _NEARLY_WHOLE:  # noqa: PLR2004  bits of a byte
        return np.rint(bytes_).astype(np.uint8)
    return np.rint(shown * _WORD).astype(np.uint16)
