"""What a DICOM's stored values look like: from each possible one, by a table, to the grey that a viewer shows.

A stored value has 16 bits at most, so the whole way - sign, modality (rescale or table), values of interest (table or
window), MONOCHROME1, padding - is worked out once for each, not for each pixel. Pure numpy; called by `dicom`.
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
"""Entries that a descriptor's 0 stands for (PS3.3, C.11.1.1.1)."""
_BYTE, _WORD = 255, 65_535
_NEARLY_WHOLE: Final = 1e-6
_STEEPEST: Final = 700.0
"""The largest exponent whose exponential is still a number."""
STRIP_ROWS: Final = 64
_BAD_TABLE: Final = "The DICOM file's lookup table is damaged; export the film again."


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a stored value lies in the bits of a pixel.

    Attributes:
        bits_stored: 1 to 16.
        shift: bits below it.
        is_signed: in two's complement.
    """

    bits_stored: int
    shift: int
    is_signed: bool

    def values(self) -> Numbers:
        """(2^bits_stored,) the value that each pattern of bits stands for."""
        patterns = np.arange(2**self.bits_stored, dtype=np.float64)
        if self.is_signed:
            patterns[len(patterns) // 2 :] -= len(patterns)
        return patterns


def grey_table(elements: Elements, layout: Layout, *, is_inverted: bool) -> Pixels:
    """The grey of each possible stored value, black to white.

    Without a table or window of interest the whole range of possible values is shown, whatever the film has of it.

    Args:
        is_inverted: MONOCHROME1: the least value is white.

    Returns:
        (2^bits_stored,) by the pattern of bits: uint8 where that loses nothing, else uint16.

    Raises:
        UnreadableImage: a slope of 0 or that is no number; a table that is too short.
    """
    stored = layout.values()
    shown = _of_interest(elements, _rescale(elements, stored, layout), layout)
    if is_inverted:
        shown = 1.0 - shown
    shown[_is_padding(elements, stored, layout)] = 0.0
    return _quantise(shown, layout.bits_stored)


def apply(table: Pixels, stored: Pixels, layout: Layout) -> Pixels:
    """The grey of each pixel, a strip of rows at a time.

    Args:
        table: of `grey_table`.
        stored: (H, W) uint8 or uint16, as stored, bits of others around the value included.

    Returns:
        (H, W) of the table's type.
    """
    patterns = np.arange(2 ** (8 * stored.dtype.itemsize))
    shown = table[(patterns >> layout.shift) & (len(table) - 1)]
    grey = np.empty(stored.shape, table.dtype)
    for top in range(0, len(stored), STRIP_ROWS):
        rows = slice(top, top + STRIP_ROWS)
        np.take(shown, stored[rows], out=grey[rows], mode="clip")  # which checks nothing, and nothing is beyond
    return grey


def _rescale(elements: Elements, stored: Numbers, layout: Layout) -> Numbers:
    """PS3.3, C.11.1: by a table where there is one, else slope times value plus intercept."""
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
    """PS3.3, C.11.2: the first table, else the first window, else everything; in [0, 1].

    A window that is no window, of width 0 for example, is passed over, as viewers do.
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
    """PS3.3, C.11.2.1.2 and .3, to [0, 1].

    LINEAR, of width w about c: (x - (c - 0.5)) / (w - 1) + 0.5; of width 1 a step behind c - 0.5.
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
    """To [0, 1]."""
    clipped: Numbers = np.clip(values, 0.0, 1.0)
    return clipped


def _look_up(item: Elements, values: Numbers, *, is_signed: bool) -> tuple[Numbers, float]:
    """A table's entry for each value, and the largest that its bits can hold; values beyond an end have the end's.

    Args:
        is_signed: its first value may be below 0, where the file does not tell.
    """
    vr = item.found[_DESCRIPTOR].vr if _DESCRIPTOR in item.found else b""
    descriptor = item.words(_DESCRIPTOR)
    if len(descriptor) != 3:  # noqa: PLR2004  entries, first value, bits
        raise UnreadableImage(_BAD_TABLE)
    count, first, bits = descriptor[0] or _FULL_TABLE, descriptor[1], descriptor[2]
    if vr == b"SS" or (vr != b"US" and is_signed):
        first -= 2 * (first & 0x8000)
    data = item.raw(_ENTRIES)
    if len(data) in {count, count + 1} and count > 1:  # of eight bits, and evened out
        entries = np.frombuffer(data, np.uint8, count)
    elif len(data) >= 2 * count:
        entries = np.frombuffer(data, "<u2" if item.is_little else ">u2", count).astype(np.uint16)
    else:
        raise UnreadableImage(_BAD_TABLE)
    places = np.clip(np.rint(values) - first, 0, count - 1).astype(np.intp)
    return entries[places].astype(np.float64), float(2 ** min(max(bits, 1), 16) - 1)


def _is_padding(elements: Elements, stored: Numbers, layout: Layout) -> npt.NDArray[np.bool_]:
    """The stored values that stand for no film at all (PS3.3, C.7.5.1.1.2): they are shown black."""
    ends = [
        elements.words(tag, is_signed=layout.is_signed)[0] for tag in (_PADDING, _PADDING_LIMIT) if elements.words(tag)
    ]
    if not elements.words(_PADDING):
        return np.zeros(stored.shape, np.bool_)
    return (stored >= min(ends)) & (stored <= max(ends))


def _quantise(shown: Numbers, bits_stored: int) -> Pixels:
    """Values in [0, 1] to 8 bits where the result is the same to the last bit, else to 16."""
    bytes_ = shown * _BYTE
    if bits_stored <= 8 and np.abs(bytes_ - np.rint(bytes_)).max() < _NEARLY_WHOLE:  # noqa: PLR2004  bits of a byte
        return np.rint(bytes_).astype(np.uint8)
    return np.rint(shown * _WORD).astype(np.uint16)
