"""A DICOM file's structure: its transfer syntax, the few elements that pixels need, and where the pixels lie.

`dicom_walk` reads it, as a PNG's chunks and a JPEG's markers are read: no name, date or number of a person is ever
made a string, and libraries see the frame alone. Called by `dicom`, inside the sandbox. PS3.5 and the like are parts
of the standard, dicom.nema.org.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.errors import UnreadableImage, UnsupportedFormat
from shared.imaging.dicom_syntax import SYNTAXES, Syntax, name_of
from shared.imaging.dicom_walk import DAMAGED, ITEM, PIXELS, SHORT_VRS, UNDEFINED, Element, Reader

_START: Final = 132
"""Behind the preamble of 128 bytes and `DICM` (PS3.10, 7.1)."""
_MOST_WORDS_BYTES: Final = 8
"""No element that is read so has more than three."""
_META_GROUP: Final = 0x0002
_TRANSFER_SYNTAX: Final = 0x00020010


@dataclass(frozen=True, slots=True)
class Elements:
    """The wanted elements of a data set or of one item of a sequence.

    Reading one raises UnreadableImage where its value is not of its form.
    """

    found: Mapping[int, Element]
    is_little: bool
    is_implicit: bool

    def word(self, tag: int, default: int | None = None, *, is_signed: bool = False) -> int:
        """A number of 16 bits; the default where it is absent or empty."""
        words = self.words(tag, is_signed=is_signed)
        if words:
            return words[0]
        if default is None:
            raise UnreadableImage("The DICOM file lacks a number that its pixels need; export the film again.")
        return default

    def words(self, tag: int, *, is_signed: bool = False) -> list[int]:
        """Numbers of 16 bits, no more than four of them; none where it is absent or empty."""
        value = self.raw(tag)[:_MOST_WORDS_BYTES]
        if len(value) % 2:
            raise UnreadableImage(DAMAGED)
        words = struct.iter_unpack(("<" if self.is_little else ">") + ("h" if is_signed else "H"), value)
        return [word for (word,) in words]

    def text(self, tag: int) -> str:
        """ASCII in capitals, without padding; empty where it is absent."""
        return bytes(self.raw(tag)).decode("ascii", "replace").strip(" \0").upper()

    def decimal(self, tag: int) -> float | None:
        """The first of some decimals; none where it is absent, empty or no number at all."""
        text = self.text(tag).partition("\\")[0].strip()
        try:
            number = float(text) if text else None
        except ValueError:
            return math.nan
        return number

    def item(self, tag: int) -> Elements | None:
        """The first item of a sequence."""
        content = self.raw(tag)
        if not len(content):
            return None
        reader = Reader(content, self.is_little, self.is_implicit)
        found, _, length = reader.header()
        if found != ITEM:
            raise UnreadableImage(DAMAGED)
        inside = reader if length == UNDEFINED else Reader(reader.take(length), self.is_little, self.is_implicit)
        return Elements(inside.wanted(), self.is_little, self.is_implicit)

    def raw(self, tag: int) -> memoryview:
        """The bytes of a value; none where it is absent."""
        element = self.found.get(tag)
        return memoryview(b"") if element is None else element.value


@dataclass(frozen=True, slots=True)
class DicomFile:
    """What a file holds of a film: how it is encoded, its elements, and its pixels as they came.

    Attributes:
        pixel_vr: of the pixels, where told: words (`OW`) of eight bits are stored in pairs.
        pixels: the pixels of an uncompressed film.
        fragments: the pieces of a compressed one, without the offset table.
    """

    syntax: Syntax
    elements: Elements
    pixel_vr: bytes
    pixels: memoryview
    fragments: tuple[memoryview, ...]


def parse(data: bytes) -> DicomFile:
    """Walk the file as far as its pixels; what follows them is not looked at.

    Raises:
        UnsupportedFormat: a transfer syntax that we do not read, by its name.
        UnreadableImage: cut short, damaged, nested too deep, or without pixels.
    """
    view = memoryview(data)[_START:]
    meta = Reader(view, is_little=True, is_implicit=False)
    syntax = _find_syntax(meta)
    rest = view[meta.at :]
    is_implicit = syntax.is_implicit and not _is_explicit(rest)
    reader = Reader(rest, syntax.is_little, is_implicit)
    found = reader.wanted()
    pixels = found.pop(PIXELS, None)
    if pixels is None:
        raise UnreadableImage("The DICOM file holds no pixels, or not all of it came; send the whole file.")
    fragments = tuple(Reader(pixels.value, is_little=True, is_implicit=True).fragments()) if reader.is_in_pieces else ()
    if syntax.is_compressed != reader.is_in_pieces:
        raise UnreadableImage(DAMAGED)
    return DicomFile(syntax, Elements(found, syntax.is_little, is_implicit), pixels.vr, pixels.value, fragments)


def _find_syntax(meta: Reader) -> Syntax:
    """The transfer syntax that the file's head names."""
    uid = ""
    while meta.next_group() == _META_GROUP:
        tag, _, length = meta.header()
        value = meta.take(length)
        if tag == _TRANSFER_SYNTAX:
            uid = bytes(value).decode("ascii", "replace").strip(" \0")
    if not uid:
        raise UnreadableImage("The DICOM file does not say how its pixels are encoded; export the film again.")
    if uid not in SYNTAXES:
        raise UnsupportedFormat(
            f"The DICOM file's pixels are encoded as {name_of(uid)}, which we do not read; "
            "export the film uncompressed (Explicit VR Little Endian) or as JPEG Lossless or JPEG 2000."
        )
    return SYNTAXES[uid]


def _is_explicit(view: memoryview) -> bool:
    """Some writers call it implicit and name the representations all the same: the first element shows it."""
    return bytes(view[4:6]) in SHORT_VRS
