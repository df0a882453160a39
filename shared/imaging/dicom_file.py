"""A DICOM file's structure: its transfer syntax, the few elements that pixels need, and where the pixels lie.

Walked here, as a PNG's chunks and a JPEG's markers are: each length is held against what is left of the file, and all
but `WANTED` is passed over unread, so that no name, date or number of a person is ever made a string. Libraries see
the frame alone. Called by `dicom`, inside the sandbox. PS3.5 and the like are parts of the standard, dicom.nema.org.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from shared.errors import UnreadableImage, UnsupportedFormat
from shared.imaging.dicom_syntax import SYNTAXES, Syntax, name_of

MAX_NESTING: Final = 64
MAX_ELEMENTS: Final = 65_536
"""Films have some hundreds; more than this only keeps the reader busy."""

PIXELS: Final = 0x7FE00010
WANTED: Final = frozenset({
    0x00080060, 0x00080068, 0x00080100,  # modality, presentation intent, code value
    0x00185101, 0x00200020, 0x00540220,  # view position, patient orientation, view codes
    0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011,  # samples, photometric, frames, rows, columns
    0x00280100, 0x00280101, 0x00280102, 0x00280103,  # bits allocated, stored, high bit, signed
    0x00280120, 0x00280121,  # pixel padding
    0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00281056,  # window, rescale, what the window's curve is
    0x00283000, 0x00283002, 0x00283006, 0x00283010,  # lookup tables
    PIXELS,
})  # fmt: skip
"""All that is ever read of a data set."""

_START: Final = 132
"""Behind the preamble of 128 bytes and `DICM` (PS3.10, 7.1)."""
_META_GROUP: Final = 0x0002
_TRANSFER_SYNTAX: Final = 0x00020010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED: Final = 0xFFFFFFFF
_SHORT_VRS: Final = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
     b"ST", b"TM", b"UI", b"UL", b"US"}
)  # fmt: skip
"""Value representations with a length of 16 bits; all others, those of later standards too, have 32 (PS3.5, 7.1.2)."""
_CUT: Final = "The DICOM file ends before its pixels do; export it again and send the whole file."
_DAMAGED: Final = "The DICOM file's structure is damaged; export it again and send the whole file."


@dataclass(frozen=True, slots=True)
class Element:
    """One value as stored; `vr` is empty where the encoding does not tell it."""

    vr: bytes
    value: memoryview


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
        """Numbers of 16 bits; none where it is absent or empty."""
        value = self.raw(tag)
        if len(value) % 2:
            raise UnreadableImage(_DAMAGED)
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
        reader = _Reader(content, self.is_little, self.is_implicit)
        found, _, length = reader.header()
        if found != _ITEM:
            raise UnreadableImage(_DAMAGED)
        inside = reader if length == _UNDEFINED else _Reader(reader.take(length), self.is_little, self.is_implicit)
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
    meta = _Reader(view, is_little=True, is_implicit=False)
    syntax = _find_syntax(meta)
    rest = view[meta.at :]
    is_implicit = syntax.is_implicit and not _is_explicit(rest)
    reader = _Reader(rest, syntax.is_little, is_implicit)
    found = reader.wanted()
    pixels = found.pop(PIXELS, None)
    if pixels is None:
        raise UnreadableImage("The DICOM file holds no pixels, or not all of it came; send the whole file.")
    fragments = (
        tuple(_Reader(pixels.value, is_little=True, is_implicit=True).fragments()) if reader.is_in_pieces else ()
    )
    if syntax.is_compressed != reader.is_in_pieces:
        raise UnreadableImage(_DAMAGED)
    return DicomFile(syntax, Elements(found, syntax.is_little, is_implicit), pixels.vr, pixels.value, fragments)


def _find_syntax(meta: _Reader) -> Syntax:
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
    return bytes(view[4:6]) in _SHORT_VRS


class _Reader:
    """A place in some bytes that only moves on, and never past their end.

    Attributes:
        at: the place.
        is_in_pieces: the pixels that were found are in fragments.
    """

    def __init__(self, view: memoryview, is_little: bool, is_implicit: bool) -> None:  # noqa: FBT001  as the syntax has it
        self.view = view
        self.at = 0
        self.is_in_pieces = False
        self._order: Final = "little" if is_little else "big"
        self._is_implicit = is_implicit
        self._left = MAX_ELEMENTS

    def take(self, size_bytes: int) -> memoryview:
        """So many bytes, which must be there."""
        end = self.at + size_bytes
        if end > len(self.view):
            raise UnreadableImage(_CUT)
        taken, self.at = self.view[self.at : end], end
        return taken

    def next_group(self) -> int:
        """The group of the next element, or of none."""
        return int.from_bytes(self.view[self.at : self.at + 2], "little") if self.at < len(self.view) else -1

    def header(self) -> tuple[int, bytes, int]:
        """Tag, representation and length of the next element."""
        self._left -= 1
        if not self._left:
            raise UnreadableImage(f"The DICOM file has more than {MAX_ELEMENTS:,} elements; export the film again.")
        head = self.take(8)
        tag = self._number(head[:2]) << 16 | self._number(head[2:4])
        vr = bytes(head[4:6])
        if self._is_implicit or tag in {_ITEM, _ITEM_END, _SEQUENCE_END} or not (vr.isalpha() and vr.isupper()):
            return tag, b"", self._number(head[4:])
        if vr in _SHORT_VRS:
            return tag, vr, self._number(head[6:])
        return tag, vr, self._number(self.take(4))

    def wanted(self) -> dict[int, Element]:
        """The wanted elements as far as the pixels, the end of the item, or the end."""
        found: dict[int, Element] = {}
        while self.at < len(self.view):
            tag, vr, length = self.header()
            if tag in {_ITEM_END, _SEQUENCE_END}:
                break
            start = self.at
            if length == _UNDEFINED:
                self._skip_items(vr, 1)
                value = self.view[start : self.at - 8]
            else:
                value = self.take(length)
            if tag in WANTED:
                found.setdefault(tag, Element(vr, value))
            if tag == PIXELS:
                self.is_in_pieces = length == _UNDEFINED
                break
        return found

    def fragments(self) -> Iterator[memoryview]:
        """The pieces of the pixels behind the offset table, which may be empty."""
        is_table = True
        while self.at < len(self.view):
            tag, _, length = self.header()
            if tag != _ITEM:
                raise UnreadableImage(_DAMAGED)
            piece = self.take(length)
            if not is_table:
                yield piece
            is_table = False

    def _skip_items(self, vr: bytes, depth: int) -> None:
        """Behind the end of a sequence, or of pieces, of undefined length."""
        if depth > MAX_NESTING:
            raise UnreadableImage(f"The DICOM file's sequences are nested deeper than {MAX_NESTING}; export it again.")
        was_implicit = self._is_implicit
        self._is_implicit |= vr == b"UN"  # PS3.5, 6.2.2, note 2: what is unknown is implicit inside
        while True:
            tag, _, length = self.header()
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM:
                raise UnreadableImage(_DAMAGED)
            if length == _UNDEFINED:
                self._skip_item(depth)
            else:
                self.take(length)
        self._is_implicit = was_implicit

    def _skip_item(self, depth: int) -> None:
        """Behind the end of an item of undefined length."""
        while True:
            tag, vr, length = self.header()
            if tag == _ITEM_END:
                return
            if length == _UNDEFINED:
                self._skip_items(vr, depth + 1)
            else:
                self.take(length)

    def _number(self, value: memoryview) -> int:
        return int.from_bytes(value, self._order)
