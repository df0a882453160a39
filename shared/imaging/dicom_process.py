"""The decoder process of DICOM films: `decoder_process`, with the DICOM libraries loaded before the first fork.

Separate from that of PNG and JPEG, so that a service without DICOM films does not load these libraries (DECISIONS 59).
Started by `Decoders`.
"""

from __future__ import annotations

import gc
import io
import struct
from typing import Final

from PIL import Image

from shared.imaging import decoder_process
from shared.imaging.decode import read_pixels

MEMORY_HEADROOM_BYTES: Final = 768 * 2**20
"""As in `decoder_process`: 40 million pixels of lossless JPEG, in a file of 51 MiB, took 690 MiB, of JPEG 2000 463."""
_SIDE: Final = 64
_EXPLICIT, _JPEG_2000 = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.90"
_ITEM, _SEQUENCE_END = b"\xfe\xff\0\xe0", b"\xfe\xff\xdd\xe0"


def main() -> None:
    """Serve films as `decoder_process.main` does."""
    decoder_process.main(warm_up=warm_up, headroom_bytes=MEMORY_HEADROOM_BYTES)


def warm_up() -> None:
    """Decode two films of our own: an uncompressed one, and one of JPEG 2000, whose plugin Pillow loads lazily."""
    with io.BytesIO() as file:
        picture = Image.new("L", (_SIDE, _SIDE))
        picture.save(file, "JPEG2000", no_jp2=True)
        frame = file.getvalue()
    read_pixels(_film(_EXPLICIT, _SIDE**2, picture.tobytes()))
    pieces = b"".join(_ITEM + _length(len(piece)) + piece for piece in (b"", frame + bytes(len(frame) % 2)))
    read_pixels(_film(_JPEG_2000, 0xFFFFFFFF, pieces + _SEQUENCE_END + _length(0)))
    gc.freeze()


def _film(syntax: bytes, size: int, pixels: bytes) -> bytes:
    """Return a minimal grey DICOM of 8 bits and `_SIDE` pixels a side; `size` is the declared length of its pixels."""
    words = {0x0010: _SIDE, 0x0011: _SIDE, 0x0100: 8, 0x0101: 8}
    parts = (
        bytes(128) + b"DICM",
        _element(0x0002, 0x0010, b"UI", syntax),
        _element(0x0008, 0x0060, b"CS", b"DX"),
        _element(0x0028, 0x0004, b"CS", b"MONOCHROME2 "),
        *(_element(0x0028, number, b"US", struct.pack("<H", value)) for number, value in words.items()),
        struct.pack("<HH2s2x", 0x7FE0, 0x0010, b"OB") + _length(size) + pixels,
    )
    return b"".join(parts)


def _element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def _length(size: int) -> bytes:
    return struct.pack("<I", size)


if __name__ == "__main__":
    main()
