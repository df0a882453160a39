"""A DICOM file's structure: its transfer syntax, the few elements that decoding needs, and the place of the pixels.

`dicom_walk` reads the elements: no name, date or number of a person is ever made a string, and libraries get only the
frame. Called by `dicom`, inside the sandbox. PS3.5 and the like are parts of the standard, dicom.nema.org.
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
"""After the preamble of 128 bytes and `DICM` (PS3.10, 7.1)."""
_MOST_WORDS_BYTES: Final = 8
"""No element that is read as 16-bit numbers has more than three of them."""
_META_GROUP: Final = 0x0002
_TRANSFER_SYNTAX: Final = 0x00020010


@dataclass(frozen=True, slots=True)
class Elements:
    """The wanted elements of a data set or of one item of a sequence.

    Reading an element raises UnreadableImage where its value does not have the expected form.
    """

    by_tag: Mapping[int, Element]
    is_little: bool
    is_implicit: bool

    def word(self, tag: int, default: int | None = None, *, is_signed: bool = False) -> int:
        """Return a number of 16 bits; the default where the element is absent or empty."""
        words = self.words(tag, is_signed=is_signed)
        if words:
            return words[0]
        if default is None:
            raise UnreadableImage("The DICOM file lacks a number that its pixels need; export the film again.")
        return default

    def words(self, tag: int, *, is_signed: bool = False) -> list[int]:
        """Return up to four numbers of 16 bits; an empty list where the element is absent or empty."""
        value = self.raw(tag)[:_MOST_WORDS_BYTES]
        if len(value) % 2:
            raise UnreadableImage(DAMAGED)
        words = struct.iter_unpack(("<" if self.is_little else ">") + ("h" if is_signed else "H"), value)
        return [word for (word,) in words]

    def text(self, tag: int) -> str:
        """Return ASCII text in upper case, without padding; an empty string where the element is absent."""
        return bytes(self.raw(tag)).decode("ascii", "replace").strip(" \0").upper()

    def decimal(self, tag: int) -> float | None:
        """Return the first of several decimals; None where it is absent or empty, NaN where it is no number."""
        text = self.text(tag).partition("\\")[0].strip()
        try:
            number = float(text) if text else None
        except ValueError:
            return math.nan
        return number

    def item(self, tag: int) -> Elements | None:
        """Return the first item of a sequence; None where the sequence is absent or empty."""
        content = self.raw(tag)
        if not len(content):
            return None
        reader = Reader(content, self.is_little, self.is_implicit)
        item_tag, _, length = reader.header()
        if item_tag != ITEM:
            raise UnreadableImage(DAMAGED)
        inside = reader if length == UNDEFINED else Reader(reader.take(length), self.is_little, self.is_implicit)
        return Elements(inside.wanted(), self.is_little, self.is_implicit)

    def raw(self, tag: int) -> memoryview:
        """Return the bytes of a value; empty where the element is absent."""
        element = self.by_tag.get(tag)
        return memoryview(b"") if element is None else element.value


@dataclass(frozen=True, slots=True)
class DicomFile:
    """The content of a file: the film's encoding, its elements, and its pixels as stored.

    Attributes:
        pixel_vr: the pixels' value representation, where the file has one: `OW` stores bytes in pairs.
        pixels: the pixels of an uncompressed film.
        fragments: the pieces of a compressed film, without the offset table.
    """

    syntax: Syntax
    elements: Elements
    pixel_vr: bytes
    pixels: memoryview
    fragments: tuple[memoryview, ...]


def parse(data: bytes) -> DicomFile:
    """Parse the file up to its pixels; bytes after them are not read.

    Raises:
        UnsupportedFormat: a transfer syntax that we do not read; names it.
        UnreadableImage: truncated, damaged, nested too deep, or without pixels.
    """
    view = memoryview(data)[_START:]
    meta = Reader(view, is_little=True, is_implicit=False)
    syntax = _find_syntax(meta)
    rest = view[meta.at :]
    is_implicit = syntax.is_implicit and not _is_explicit(rest)
    reader = Reader(rest, syntax.is_little, is_implicit)
    elements = reader.wanted()
    pixels = elements.pop(PIXELS, None)
    if pixels is None:
        raise UnreadableImage("The DICOM file holds no pixels, or not all of it came; send the whole file.")
    fragments = tuple(Reader(pixels.value, is_little=True, is_implicit=True).fragments()) if reader.is_in_pieces else ()
    if syntax.is_compressed != reader.is_in_pieces:
        raise UnreadableImage(DAMAGED)
    return DicomFile(syntax, Elements(elements, syntax.is_little, is_implicit), pixels.vr, pixels.value, fragments)


def _find_syntax(meta: Reader) -> Syntax:
    """Return the transfer syntax that the file's meta information names."""
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
    """Whether the first element names its VR; some writers declare the syntax implicit and name VRs all the same."""
    return bytes(view[4:6]) in SHORT_VRS
