"""From JPEG to stored grey pixels, complete or not at all.

The markers are walked here for size, coding, number of scans and orientation; simplejpeg (libjpeg-turbo) then
decodes strictly: it refuses missing or damaged rows, which Pillow fills with grey. Called by `decode`, inside
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
"""libjpeg's own progressive scripts have 6 (grey) or 10 (colour) scans; each scan walks all blocks again."""
MAX_SEGMENTS: Final = 4096
"""Encoders write 5 to 300 (a large ICC profile or XMP in 64 KB pieces)."""
MIN_BYTES_PER_PIXEL: Final = 1 / 1024
"""A uniform progressive film still needs about 1 bit for a block of 64 pixels, 1/512 byte a pixel."""

_EXIF: Final = b"Exif\0\0"
_APP1, _END, _SCAN = 0xE1, 0xD9, 0xDA
_HUFFMAN_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})
_OTHER_FRAMES: Final = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
FRAMES: Final = _HUFFMAN_FRAMES | _OTHER_FRAMES
"""The markers of a frame's header: bits per sample, height, width, components (T.81, B.2.2)."""
FRAME_SIZE: Final = 6
_PROGRESSIVE: Final = 0xC2
_COEFFICIENTS: Final = 64
_SCAN_END: Final = 3
_LOW_BIT: Final = 0x0F
"""A scan's header ends with its first and last coefficient and their lowest bit that it sends (T.81, B.2.3: Al)."""
_WITHOUT_BODY: Final = frozenset({0x01, *range(0xD0, 0xD8)})
MODES: Final[Mapping[int, str]] = MappingProxyType({1: "L", 3: "RGB", 4: "CMYK"})
_NEXT_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_STRIP_ROWS: Final = 256
_DAMAGED: Final = "The JPEG's data is damaged; export the film again and send the whole file."
_CUT: Final = "The JPEG ends before its last row; export it again and send the whole file."

_CUT_SCANS: Final = "The progressive JPEG ends before its last scan; export it again and send the whole file."


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

        Grey is the JPEG's own luma (ITU-R 601) where it is stored as YCbCr; CMYK is assumed to be inverted, as
        Adobe writes it and Pillow and the browsers read it.

        Raises:
            UnreadableImage: truncated, damaged, or too few bytes for its pixels.
        """
        if len(self.data) < self.width_px * self.height_px * MIN_BYTES_PER_PIXEL:
            raise UnreadableImage(
                "The JPEG's header declares more pixels than its data can contain; export the film again."
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
        UnreadableImage: no frame, no end, missing scans, or too many scans or segments.
        UnsupportedFormat: arithmetic, lossless or hierarchical coding, or not 8 bits per sample.
    """
    frame: bytes | None = None
    orientation = UPRIGHT
    is_progressive = False
    scans: list[bytes] = []
    for marker, body in segments(data):
        if marker in _HUFFMAN_FRAMES:
            frame = frame or bytes(body)
            is_progressive = marker == _PROGRESSIVE
        elif marker in _OTHER_FRAMES:
            raise UnsupportedFormat(
                "The JPEG uses arithmetic, lossless or hierarchical coding; export it as a baseline JPEG or as a PNG."
            )
        elif marker == _APP1 and not scans and bytes(body[: len(_EXIF)]) == _EXIF:
            orientation = find_orientation(bytes(body[len(_EXIF) :]))
        elif marker == _SCAN:
            scans.append(bytes(body))
        if len(scans) > MAX_SCANS:
            raise UnreadableImage(f"The JPEG has more than {MAX_SCANS} scans; export it as a usual JPEG.")
    if frame is None or not scans:
        raise UnreadableImage("The JPEG holds no pixels; export the film again and send the whole file.")
    source = _source(frame, orientation, data)
    if is_progressive and not _is_complete(frame, scans):
        raise UnreadableImage(_CUT_SCANS)
    return source


def _is_complete(frame: bytes, scans: list[bytes]) -> bool:
    """Whether the scans of a progressive film sent each coefficient of each component down to its last bit."""
    missing = {component: set(range(_COEFFICIENTS)) for component in frame[FRAME_SIZE::3]}
    for scan in scans:
        if len(scan) < _SCAN_END:
            return False
        *components, first, last, bits = scan
        if not bits & _LOW_BIT:
            for component in components[1::2]:
                missing.get(component, set()).difference_update(range(first, last + 1))
    return not any(missing.values())


def _source(frame: bytes, orientation: int, data: bytes) -> JpegSource:
    """Read precision, height, width and number of components out of the frame header."""
    mode = MODES.get(frame[5]) if len(frame) >= FRAME_SIZE else None
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


def segments(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """Yield (marker, body) up to the end marker, which must exist; bytes after it are not read.

    Raises:
        UnreadableImage: no end marker, a segment beyond the end, or too many.
    """
    view = memoryview(data)
    at = 2
    for _ in range(MAX_SEGMENTS):
        match = _NEXT_MARKER.search(data, at)
        if match is None:
            raise UnreadableImage(_CUT)
        marker, at = data[match.end() - 1], match.end()
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
    """Convert inverted CMYK to grey, a strip of rows at a time, so that 40 million pixels fit into memory.

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
