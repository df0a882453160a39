"""The decoder process of DICOM films: `decoder_process`, and the libraries that they need, loaded before a child is forked.

Apart from that of PNG and JPEG, so that a service without DICOM films holds none of it (DECISIONS 57). Started by `Decoders`.
"""

from __future__ import annotations

import gc
import io
import struct

from PIL import Image

from shared.imaging import decoder_process
from shared.imaging.decode import read_pixels

_SIDE = 64
_EXPLICIT, _JPEG_2000 = b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.4.90"


def main() -> None:
    """As `decoder_process.main`."""
    decoder_process.main(warm_up=warm_up)


def warm_up() -> None:
    """Decode two films of our own: one as it is, one of JPEG 2000, which Pillow loads when the first comes."""
    with io.BytesIO() as file:
        Image.new("L", (_SIDE, _SIDE)).save(file, "JPEG2000", no_jp2=True)
        frame = file.getvalue()
    read_pixels(_film(_EXPLICIT, struct.pack("<I", _SIDE * _SIDE) + bytes(_SIDE * _SIDE)))
    pieces = (bytes(), frame + bytes(len(frame) % 2))
    read_pixels(_film(_JPEG_2000, b"\xff" * 4 + b"".join(b"\xfe\xff\0\xe0" + struct.pack("<I", len(p)) + p for p in pieces) + b"\xfe\xff\xdd\xe0" + bytes(4)))
    gc.freeze()


def _film(syntax: bytes, pixels: bytes) -> bytes:
    """The least of a grey film of 8 bits and `_SIDE` a side; `pixels` begin with their length."""
    head = _element(0x0002, 0x0010, b"UI", syntax)
    words = {0x0010: _SIDE, 0x0011: _SIDE, 0x0100: 8, 0x0101: 8}
    return b"".join(
        (
            bytes(128) + b"DICM" + head,
            _element(0x0008, 0x0060, b"CS", b"DX"),
            _element(0x0028, 0x0004, b"CS", b"MONOCHROME2"),
            *(_element(0x0028, number, b"US", struct.pack("<H", value)) for number, value in words.items()),
            struct.pack("<HH2s2x", 0x7FE0, 0x0010, b"OB") + pixels,
        )
    )


def _element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


if __name__ == "__main__":
    main()
