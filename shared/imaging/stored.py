"""Stored forms: a film's canonical pixels and a raw saliency map, each as `.npy` bytes, quick to read."""

from __future__ import annotations

import io

import numpy as np

from shared.domain import FloatArray, Pixels
from shared.errors import BlobMissing


def to_bytes(pixels: Pixels) -> bytes:
    """(H, W) uint8 or uint16 to `.npy` bytes."""
    buffer = io.BytesIO()
    np.save(buffer, pixels, allow_pickle=False)
    return buffer.getvalue()


def from_bytes(data: bytes) -> Pixels:
    """`.npy` bytes to (H, W) uint8 or uint16.

    Raises:
        BlobMissing: the bytes are no film of ours.
    """
    try:
        pixels = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise BlobMissing("The stored film cannot be read.") from error
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16):  # noqa: PLR2004  height and width
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
