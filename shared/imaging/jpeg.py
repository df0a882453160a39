"""JPEG to stored grey pixels, whole or not at all.

The markers are walked here for size, coding, number of scans and orientation; simplejpeg (libjpeg-turbo) then
decodes strictly: where Pillow fills missing or damaged rows with grey, it refuses. Called by `decode`, inside
the sandbox.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from shared.arrays import Pixels
from shared.errors import UnreadableImage, UnsupportedFormat
from shared.imaging.orientation import UPRIGHT, find_orientation

SIGNATURE: Final = b"\xff\xd8\xff"
MAX_SCANS: Final = 64
"""libjpeg's own progressive scripts have 6 (grey) or 10 (colour) scans; each more walks all blocks again."""
MAX_SEGMENTS: Final = 4096
"""Encoders write 5 to 300 (a large ICC profile or XMP in 64 KB pieces)."""
MIN_BYTES_PER_PIXEL: Final = 1 / 1024
"""A flat progressive film still needs about 1 bit a block of 64 pixels, 1/512 byte a pixel."""

_EXIF: Final = b"Exif\0\0"
_APP1, _END, _SCAN = 0xE1, 0xD9, 0xDA
_HUFFMAN_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})
_OTHER_FRAMES: Final = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_WITHOUT_BODY: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_FRAME_SIZE: Final = 6
MODES: Final[Mapping[int, str]] = MappingProxyType({1: "L", 3: "RGB", 4: "CMYK"})
_NEXT_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_STRIP_ROWS: Final = 256
_DAMAGED: Final = "The JPEG's data is damaged; export the film again and send the whole file."
_CUT: Final = "The JPEG ends before its last row; export it again and send the whole file."


@dataclass(frozen=True, slots=True)
class JpegSource:
    """A JPEG whose markers were walked; its pixels are not decoded yet.

    Attributes:
        mode: 'L', 'RGB' or 'CMYK', by its number of components.
        width_px, height_px: as stored, before the orientation.
        orientation: 1-8.
        data: the whole file.
    """

    mode: str
    width_px: int
    height_px: int
    orientation: int
    data: bytes

    def read(self) -> Pixels:
        """Decode strictly to grey as stored: (H, W) uint8.

        Grey is the JPEG's own luma (ITU-R 601) where it is stored as YCbCr; CMYK is taken to be inverted, as
        Adobe writes it and Pillow and the browsers read it.

        Raises:
            UnreadableImage: cut, damaged, or too few bytes for its pixels.
        """
        if len(self.data) < self.width_px * self.height_px * MIN_BYTES_PER_PIXEL:
            raise UnreadableImage(
                "The JPEG's header promises more pixels than its data can hold; export the film again."
            )
        try:
            if self.mode == "CMYK":
                pixels = _grey_of_cmyk(simplejpeg.decode_jpeg(self.data, "CMYK", strict=True))
            else:
                pixels = simplejpeg.decode_jpeg(self.data, "GRAY", strict=True)[:, :, 0]
        except ValueError as error:
            if "Insufficient memory" in str(error):
                raise MemoryError from error
            raise UnreadableImage(_CUT if "Premature end" in str(error) else _DAMAGED) from error
        if pixels.shape != (self.height_px, self.width_px):
            raise UnreadableImage(_DAMAGED)
        return pixels


def parse(data: bytes) -> JpegSource:
    """Walk the markers and read the frame header.

    Raises:
        UnreadableImage: no frame, no end, or too many scans or segments.
        UnsupportedFormat: arithmetic, lossless or hierarchical coding, or not 8 bits a sample.
    """
    frame: bytes | None = None
    orientation = UPRIGHT
    scans = 0
    for marker, body in _segments(data):
        if marker in _HUFFMAN_FRAMES:
            frame = frame or bytes(body)
        elif marker in _OTHER_FRAMES:
            raise UnsupportedFormat(
                "The JPEG is arithmetic, lossless or hierarchical; export it as a usual JPEG or as a PNG."
            )
        elif marker == _APP1 and not scans and bytes(body[: len(_EXIF)]) == _EXIF:
            orientation = find_orientation(bytes(body[len(_EXIF) :]))
        elif marker == _SCAN:
            scans += 1
        if scans > MAX_SCANS:
            raise UnreadableImage(f"The JPEG has more than {MAX_SCANS} scans; export it as a usual JPEG.")
    if frame is None or not scans:
        raise UnreadableImage("The JPEG holds no pixels; export the film again and send the whole file.")
    return _source(frame, orientation, data)


def _source(frame: bytes, orientation: int, data: bytes) -> JpegSource:
    """Read precision, height, width and number of components out of the frame header."""
    mode = MODES.get(frame[5]) if len(frame) >= _FRAME_SIZE else None
    if mode is None:
        raise UnreadableImage(_DAMAGED)
    if frame[0] != 8:  # noqa: PLR2004 - bits a sample
        raise UnsupportedFormat(f"The JPEG has {frame[0]} bits a sample; export it as an 8-bit JPEG or a PNG.")
    return JpegSource(
        mode,
        width_px=int.from_bytes(frame[3:5]),
        height_px=int.from_bytes(frame[1:3]),
        orientation=orientation,
        data=data,
    )


def _segments(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """Yield (marker, body) up to the end marker, which must come; what follows it is not looked at."""
    view = memoryview(data)
    at = 2
    for _ in range(MAX_SEGMENTS):
        found = _NEXT_MARKER.search(data, at)
        if found is None:
            raise UnreadableImage(_CUT)
        marker, at = data[found.end() - 1], found.end()
        if marker == _END:
            return
        if marker in _WITHOUT_BODY:
            continue
        end = at + max(2, int.from_bytes(view[at : at + 2]))
        if end > len(data):
            raise UnreadableImage(_CUT)
        yield marker, view[at + 2 : end]
        at = end
    raise UnreadableImage(f"The JPEG has more than {MAX_SEGMENTS:,} segments; export it as a usual JPEG.")


def _grey_of_cmyk(inverted: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Inverted CMYK to grey, a strip of rows at a time so that 40 million pixels stay within memory.

    Args:
        inverted: (H, W, 4) uint8, 255 is no ink: red is c * k / 255, and so on.

    Returns:
        (H, W) uint8, ITU-R 601 luma.
    """
    grey = np.empty(inverted.shape[:2], np.uint8)
    for top in range(0, len(inverted), _STRIP_ROWS):
        strip = inverted[top : top + _STRIP_ROWS].astype(np.uint16)
        colour = (strip[:, :, :3] * strip[:, :, 3:] + 127) // 255
        grey[top : top + _STRIP_ROWS] = np.asarray(Image.fromarray(colour.astype(np.uint8)).convert("L"))
    return grey
