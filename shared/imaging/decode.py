"""From uploaded bytes to a film: the formats, their size limits, and the orientation.

Runs inside the sandbox only, never in the web process. Formats are detected by content, never by name. EXIF, XMP,
ICC profiles and bytes after the end of the file are dropped; only pixels and a few facts are returned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from shared.arrays import Pixels
from shared.domain import Film, FilmFacts
from shared.errors import (
    DecodeLimit,
    Malformed,
    RefusedUpload,
    TooLarge,
    TooManyPixels,
    UnreadableImage,
    UnsupportedFormat,
)
from shared.imaging import jpeg, png, stored
from shared.imaging.orientation import upright

MAX_INPUT_BYTES: Final = 64 * 2**20
MAX_PIXELS: Final = 40_000_000
MAX_SIDE_PX: Final = 8192
MIN_SIDE_PX: Final = 32
MAX_RATIO: Final = 10
"""The caps of the upload rules: a 493 KB PNG took 808 MB of memory under Pillow's own (DECISIONS 10)."""

_UNSUPPORTED_FORMATS: Final = (
    (0, b"GIF8", "a GIF"),
    (0, b"II*\0", "a TIFF"),
    (0, b"MM\0*", "a TIFF"),
    (8, b"WEBP", "a WebP"),
    (4, b"ftyp", "a HEIC or AVIF"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (0, b"BM", "a BMP"),
    (0, b"%PDF", "a PDF"),
    (0, b"PK\x03\x04", "a ZIP"),
    (0, b"\x1f\x8b", "a gzip"),
    *(
        (0, start, "a DICOM data set without the preamble and 'DICM' of a DICOM")
        for start in (b"\x02\0\0\0UL", b"\x08\0\x05\0", b"\x08\0\x08\0", b"\x08\0\x16\0")
    ),
)
"""(offset, magic bytes, name) of formats that are not read, so that the refusal can name them."""

_DICOM_AT, _DICOM = 128, b"DICM"
"""After a preamble of any content, which may be a TIFF header (PS3.10, 7.1)."""

KINDS: Final = frozenset({"png", "jpeg", "dicom"})
MODES: Final = frozenset({*png.MODES.values(), *jpeg.MODES.values()})


class Source(Protocol):
    """A file whose structure was checked and whose pixels are not decoded yet."""

    @property
    def mode(self) -> str:
        """The colour mode as Pillow names it."""

    @property
    def width_px(self) -> int:
        """Width as stored."""

    @property
    def height_px(self) -> int:
        """Height as stored."""

    @property
    def orientation(self) -> int:
        """1-8 as EXIF counts them."""

    def read(self) -> Pixels:
        """Decode the pixels: (H, W) uint8 or uint16, as stored."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoder's result: upright grey `pixels`, (H, W) uint8 or uint16; `kind`; `mode`. No digests yet."""

    pixels: Pixels
    kind: str
    mode: str


def decode(data: bytes) -> Film:
    """Decode one upload in this process; only for trusted bytes. Others go through the sandbox.

    Args:
        data: a whole PNG, JPEG or DICOM file.

    Raises:
        RefusedUpload: one of its subclasses, with a sentence for the sender.
    """
    return make_film(read_pixels(data), hashlib.sha256(data).hexdigest())


def read_pixels(data: bytes) -> Decoded:
    """Check, decode and turn an upload upright.

    Raises:
        RefusedUpload: the only exception, whatever the bytes are.
    """
    kind, parse = _find_format(data)
    with _refusing(kind.upper()):
        source = parse(data)
        check_size(source.width_px, source.height_px)
        return Decoded(upright(source.read(), source.orientation), kind, source.mode)


def make_film(decoded: Decoded, input_sha256: str) -> Film:
    """Add the digests of the canonical pixels (C order, 16-bit as little-endian) and of their stored form."""
    pixels = decoded.pixels
    height_px, width_px = pixels.shape
    pixels_sha256, stored_sha256 = stored.digests(pixels)
    facts = FilmFacts(
        kind=decoded.kind,
        mode=decoded.mode,
        bit_depth=pixels.dtype.itemsize * 8,
        width_px=width_px,
        height_px=height_px,
        input_sha256=input_sha256,
        pixels_sha256=pixels_sha256,
    )
    return Film(pixels, facts, stored_sha256)


def check_input_size(size_bytes: int) -> None:
    """Refuse an upload of no bytes, or of too many.

    Raises:
        Malformed: the upload is empty.
        TooLarge: it has more than `MAX_INPUT_BYTES`.
    """
    if not size_bytes:
        raise Malformed("The file is empty.")
    if size_bytes > MAX_INPUT_BYTES:
        raise TooLarge(f"The file is larger than {MAX_INPUT_BYTES // 2**20} MiB; send a smaller copy.")


def check_size(width_px: int, height_px: int) -> None:
    """Refuse a film outside the limits, by its header alone.

    Raises:
        UnreadableImage: a side is zero.
        TooManyPixels: too many or too few pixels, or too long and thin.
    """
    short, long = sorted((width_px, height_px))
    size = f"The film is {width_px} x {height_px} pixels"
    if not short:
        raise UnreadableImage("The file's header gives no width or no height; export the film again.")
    if long > MAX_SIDE_PX or width_px * height_px > MAX_PIXELS:
        raise TooManyPixels(
            f"{size}; we read up to {MAX_PIXELS // 10**6} million pixels and {MAX_SIDE_PX} a side. Send a smaller copy."
        )
    if short < MIN_SIDE_PX:
        raise TooManyPixels(f"{size}; each side must be at least {MIN_SIDE_PX} pixels long. Send the full film.")
    if long > MAX_RATIO * short:
        raise TooManyPixels(f"{size}; one side may be at most {MAX_RATIO} times the other. Send the full film.")


def _find_format(data: bytes) -> tuple[str, Callable[[bytes], Source]]:
    """Detect the format by the first bytes; return its name and its parser."""
    check_input_size(len(data))
    if data.startswith(png.SIGNATURE):
        return "png", png.parse
    if data.startswith(jpeg.SIGNATURE):
        return "jpeg", jpeg.parse
    if is_dicom(data):
        return "dicom", _parse_dicom
    name = next((name for at, magic, name in _UNSUPPORTED_FORMATS if data[at : at + len(magic)] == magic), None)
    sentence = f"This is {name} file" if name else "This is neither a PNG nor a JPEG nor a DICOM file"
    raise UnsupportedFormat(f"{sentence}; we read PNG, JPEG and DICOM. Export the film as one of these.")


def is_dicom(data: bytes) -> bool:
    """Whether the first bytes are a DICOM's and no other format's; a web process inspects nothing else of an upload."""
    is_named = data[_DICOM_AT : _DICOM_AT + len(_DICOM)] == _DICOM
    return is_named and not data.startswith((png.SIGNATURE, jpeg.SIGNATURE))


def _parse_dicom(data: bytes) -> Source:
    from shared.imaging import dicom  # noqa: PLC0415  22 MB, which only the decoder of DICOM films needs

    return dicom.parse(data)


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Turn whatever an image library raises on hostile bytes into a refusal."""
    try:
        yield
    except RefusedUpload:
        raise
    except MemoryError as error:
        raise DecodeLimit(f"The {name} needs more memory than we allow; send a smaller copy.") from error
    except Exception as error:  # libraries raise nearly anything on hostile bytes
        raise UnreadableImage(
            f"The {name}'s data is cut short or damaged; export the film again and send the whole file.",
            cause=type(error).__name__,
        ) from error
