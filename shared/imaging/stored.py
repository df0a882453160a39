"""Stored forms: a film's canonical pixels followed by a short description, and a raw saliency map as `.npy` bytes.

The description follows the pixels, so that one pass computes both digests: of the pixels and of the stored bytes.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from struct import Struct
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.arrays import FloatArray, Pixels
from shared.errors import StorageDown

_END: Final = Struct("<III8s")
"""Height, width, bits per pixel, and the form's name."""
_NAME: Final = b"grey-v1."
_UNKNOWN: Final = "The film is stored in a form that this build cannot read; run one as new as what stored it."
_TYPES: Final[Mapping[int, npt.DTypeLike]] = MappingProxyType({8: np.uint8, 16: "<u2"})


def to_bytes(pixels: Pixels) -> bytes:
    """Serialise (H, W) uint8 or uint16: the pixels row by row, 16 bits as little-endian, then their description."""
    return b"".join((_canonical(pixels).data, _describe(pixels)))


def digests(pixels: Pixels) -> tuple[str, str]:
    """Return the SHA-256, in hex, of the pixels alone and of `to_bytes`."""
    digest = hashlib.sha256(_canonical(pixels).data)
    pixels_sha256 = digest.hexdigest()
    digest.update(_describe(pixels))
    return pixels_sha256, digest.hexdigest()


def from_bytes(data: bytes) -> Pixels:
    """Parse the bytes of `to_bytes` to (H, W) uint8 or uint16, without a copy.

    Raises:
        StorageDown: the bytes have another form. They are intact, since their checksum was right, so a newer build may
            have stored them: another worker can read them, and the film is not given up.
    """
    if len(data) < _END.size or not data.endswith(_NAME):
        raise StorageDown(_UNKNOWN)
    height_px, width_px, bits, _ = _END.unpack_from(data, len(data) - _END.size)
    try:
        pixels: Pixels = np.frombuffer(memoryview(data)[: -_END.size], _TYPES[bits]).reshape(height_px, width_px)
    except (KeyError, ValueError) as error:
        raise StorageDown(_UNKNOWN) from error
    return pixels


def _canonical(pixels: Pixels) -> npt.NDArray[np.generic]:
    """Return the pixels in C order, 16 bits as little-endian; the same array where they already are."""
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))


def _describe(pixels: Pixels) -> bytes:
    height_px, width_px = pixels.shape
    return _END.pack(height_px, width_px, pixels.dtype.itemsize * 8, _NAME)


def saliency_to_bytes(values: FloatArray) -> bytes:
    """Serialise (h, w) float32 to `.npy` bytes."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def saliency_from_bytes(data: bytes) -> FloatArray:
    """Parse `.npy` bytes of our own database to (h, w) float32."""
    values: FloatArray = np.load(io.BytesIO(data), allow_pickle=False)
    return values
