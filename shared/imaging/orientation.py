"""EXIF orientation: how a film was stored, and the turn that makes it upright.

This is the only EXIF tag that is read; names, places and thumbnails are never parsed. Called by the readers of PNG
(eXIf chunk) and JPEG (APP1 segment), and by `decode`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from shared.arrays import Pixels

UPRIGHT: Final = 1
_ORIENTATION_TAG: Final = 0x0112
_SHORT: Final = 3
_ENTRY_SIZE: Final = 12
_BYTE_ORDERS: Final[Mapping[bytes, str]] = MappingProxyType({b"II*\0": "<", b"MM\0*": ">"})

_TURNS: Final[Mapping[int, Callable[[Pixels], Pixels]]] = MappingProxyType(
    {
        2: np.fliplr,
        3: lambda pixels: np.rot90(pixels, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda pixels: np.rot90(pixels, -1),
        7: lambda pixels: np.rot90(pixels, 2).T,
        8: np.rot90,
    }
)
"""Functions from stored to upright pixels, for each value of EXIF 2.32's tag 0x0112 except 1."""


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn and mirror stored pixels so that the film is upright.

    Args:
        pixels: (H, W) uint8 or uint16.
        orientation: 1-8 as EXIF counts them.

    Returns:
        (H, W), or (W, H) for 5-8, same type, C-contiguous.
    """
    turn = _TURNS.get(orientation)
    if turn is None:
        return pixels
    stored = turn(pixels)
    turned = np.empty_like(pixels, shape=stored.shape, order="C")
    turned[:] = stored
    return turned


def find_orientation(tiff: bytes) -> int:
    """Read the orientation from an EXIF block, which begins with its TIFF header.

    Returns:
        1-8; 1 where the block is absent, broken or has no known value: bad EXIF is no reason to refuse a film.
    """
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None:
        return UPRIGHT
    try:
        return _orientation_in(tiff, order)
    except struct.error:
        return UPRIGHT


def _orientation_in(tiff: bytes, order: str) -> int:
    """Read the orientation from the first directory only; it has at most 65,535 entries of 12 bytes."""
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for at in range(start + 2, start + 2 + count * _ENTRY_SIZE, _ENTRY_SIZE):
        tag, kind, length, value = struct.unpack_from(order + "HHIH", tiff, at)
        if (tag, kind, length) == (_ORIENTATION_TAG, _SHORT, 1):
            return value if value in _TURNS else UPRIGHT
    return UPRIGHT
