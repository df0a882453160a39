"""Makers of what tests need: keyword-only, with sensible defaults, the same for the same arguments."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from shared.arrays import Pixels
from shared.imaging.png import SIGNATURE

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6


def make_pixels(*, height_px: int = 48, width_px: int = 64, seed: int = 0, dtype: npt.DTypeLike = np.uint8) -> Pixels:
    """A smooth picture without any symmetry: (height_px, width_px) uint8 or uint16, the full range used."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.random((5, 7)).astype(np.float32))
    values = np.asarray(coarse.resize((width_px, height_px), Image.Resampling.BICUBIC))
    values = (values - values.min()) / (values.max() - values.min())
    return np.rint(values * np.iinfo(np.dtype(dtype)).max).astype(dtype)


def make_exif(*, orientation: int = 1, byte_order: str = "<", name: str = "") -> bytes:
    """An EXIF block from its TIFF header on: the orientation, and a name as ImageDescription."""
    text = name.encode() + b"\0"
    entries = [
        struct.pack(byte_order + "HHII", 0x010E, 2, len(text), 8 + 2 + 2 * 12 + 4),
        struct.pack(byte_order + "HHIHH", 0x0112, 3, 1, orientation, 0),
    ]
    start = b"II*\0" if byte_order == "<" else b"MM\0*"
    count = struct.pack(byte_order + "H", len(entries))
    return start + struct.pack(byte_order + "I", 8) + count + b"".join(entries) + bytes(4) + text


def make_png(*, pixels: npt.NDArray[Any] | None = None, mode: str | None = None, **options: Any) -> bytes:
    """Encode `pixels` (make_pixels() by default), converted to `mode`, as PNG; options are Pillow's."""
    return _encode("PNG", pixels, mode, options)


def make_jpeg(*, pixels: npt.NDArray[Any] | None = None, mode: str | None = None, **options: Any) -> bytes:
    """Encode `pixels` (make_pixels() by default), converted to `mode`, as JPEG; options are Pillow's."""
    return _encode("JPEG", pixels, mode, options)


def make_png_chunk(*, kind: bytes, body: bytes = b"") -> bytes:
    """One PNG chunk with a right checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def make_raw_png(  # noqa: PLR0913 - each is one thing to get wrong
    *,
    width_px: int = 40,
    height_px: int = 40,
    bits: int = 8,
    colour: int = GREY,
    interlaced: bool = False,
    rows: bytes | None = None,
    idat: bytes | None = None,
    before: Iterable[bytes] = (),
    after: bytes = b"",
) -> bytes:
    """A PNG chunk by chunk, true or not.

    Args:
        rows: filtered rows to be compressed; all zero by default.
        idat: the compressed data itself, instead of `rows`.
        before: chunks between IHDR and IDAT.
        after: bytes after IEND.
    """
    header = struct.pack(">IIBBBBB", width_px, height_px, bits, colour, 0, 0, int(interlaced))
    channels = {RGB: 3, GREY_ALPHA: 2, RGB_ALPHA: 4}.get(colour, 1)
    if idat is None:
        size = height_px * (1 + (width_px * bits * channels + 7) // 8)
        idat = zlib.compress(bytes(size) if rows is None else rows, 1)
    chunks = [
        make_png_chunk(kind=b"IHDR", body=header),
        *before,
        make_png_chunk(kind=b"IDAT", body=idat),
        make_png_chunk(kind=b"IEND"),
    ]
    return SIGNATURE + b"".join(chunks) + after


def _encode(format_name: str, pixels: npt.NDArray[Any] | None, mode: str | None, options: dict[str, Any]) -> bytes:
    picture = Image.fromarray(make_pixels() if pixels is None else pixels)
    if mode:
        picture = picture.convert(mode)
    with io.BytesIO() as file:
        picture.save(file, format_name, **options)
        return file.getvalue()
