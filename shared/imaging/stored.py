"""Stored forms: a film's canonical pixels and a raw saliency map, each as `.npy` bytes, quick to read."""

from __future__ import annotations

import io

import numpy as np
from numpy.lib import format as npy

from shared.domain import FloatArray, Pixels
from shared.errors import BlobMissing


def to_bytes(pixels: Pixels) -> bytes:
    """(H, W) uint8 or uint16 to `.npy` bytes."""
    buffer = io.BytesIO()
    np.save(buffer, pixels, allow_pickle=False)
    return buffer.getvalue()


def from_bytes(data: bytes) -> Pixels:
    """`.npy` bytes to (H, W) uint8 or uint16, read-only, in place: nothing is copied.

    Raises:
        BlobMissing: the bytes are no film of ours.
    """
    file = io.BytesIO(data)
    try:
        version = npy.read_magic(file)
        shape, is_fortran, dtype = npy.read_array_header_1_0(file)
        flat = np.frombuffer(data, dtype, offset=file.tell())
        pixels = flat.reshape(shape, order="F" if is_fortran else "C")
    except ValueError as error:
        raise BlobMissing("The stored film cannot be read.") from error
    if version != (1, 0) or pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16):  # noqa: PLR2004  height and width
        raise BlobMissing("The stored film is not a grey picture.")
    return pixels


def saliency_to_bytes(values: FloatArray) -> bytes:
    """(h, w) float32 to `.npy` bytes."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def saliency_from_bytes(data: bytes) -> FloatArray:
    """`.npy` bytes of our own database back to (h, w) float32."""
    values: FloatArray = np.load(io.BytesIO(data), allow_pickle=False)
    return values
