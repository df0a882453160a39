"""The elements of a DICOM file, in order: wanted ones are returned, all others skipped unread.

Each length is checked against the bytes that are left; this module does not interpret elements. Called by `dicom_file`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from shared.errors import UnreadableImage

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
"""All elements that are ever read of a data set."""

ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED: Final = 0xFFFFFFFF
SHORT_VRS: Final = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
     b"ST", b"TM", b"UI", b"UL", b"US"}
)  # fmt: skip
"""Value representations with a 16-bit length; all others, also of later standards, have 32 bits (PS3.5, 7.1.2)."""
_CUT: Final = "The DICOM file ends before its pixels do; export it again and send the whole file."
DAMAGED: Final = "The DICOM file's structure is damaged; export it again and send the whole file."


@dataclass(frozen=True, slots=True)
class Element:
    """One value as stored; `vr` is empty where the encoding does not contain it."""

    vr: bytes
    value: memoryview


class Reader:
    """A position in a buffer that only advances, and never past the end.

    Attributes:
        at: the position.
        is_in_pieces: whether the pixels are in fragments.
    """

    def __init__(self, view: memoryview, is_little: bool, is_implicit: bool) -> None:  # noqa: FBT001  as the syntax has it
        self.view = view
        self.at = 0
        self.is_in_pieces = False
        self._order: Final = "little" if is_little else "big"
        self._is_implicit = is_implicit
        self._left = MAX_ELEMENTS

    def take(self, size_bytes: int) -> memoryview:
        """Return the next `size_bytes` bytes, which must exist."""
        end = self.at + size_bytes
        if end > len(self.view):
            raise UnreadableImage(_CUT)
        taken, self.at = self.view[self.at : end], end
        return taken

    def next_group(self) -> int:
        """Return the group of the next element; -1 at the end."""
        return int.from_bytes(self.view[self.at : self.at + 2], "little") if self.at < len(self.view) else -1

    def header(self) -> tuple[int, bytes, int]:
        """Return tag, VR and length of the next element."""
        self._left -= 1
        if not self._left:
            raise UnreadableImage(f"The DICOM file has more than {MAX_ELEMENTS:,} elements; export the film again.")
        head = self.take(8)
        tag = self._number(head[:2]) << 16 | self._number(head[2:4])
        vr = bytes(head[4:6])
        if self._is_implicit or tag in {ITEM, _ITEM_END, _SEQUENCE_END} or not (vr.isalpha() and vr.isupper()):
            return tag, b"", self._number(head[4:])
        if vr in SHORT_VRS:
            return tag, vr, self._number(head[6:])
        return tag, vr, self._number(self.take(4))

    def wanted(self) -> dict[int, Element]:
        """Return the wanted elements up to the pixels, the end of the item, or the end of the buffer."""
        elements: dict[int, Element] = {}
        while self.at < len(self.view):
            tag, vr, length = self.header()
            if tag in {_ITEM_END, _SEQUENCE_END}:
                break
            start = self.at
            if length == UNDEFINED:
                self._skip_items(vr, 1)
                value = self.view[start : self.at - 8]
            else:
                value = self.take(length)
            if tag in WANTED:
                elements.setdefault(tag, Element(vr, value))
            if tag == PIXELS:
                self.is_in_pieces = length == UNDEFINED
                break
        return elements

    def fragments(self) -> Iterator[memoryview]:
        """Yield the pixels' fragments after the offset table, which may be empty."""
        is_table = True
        while self.at < len(self.view):
            tag, _, length = self.header()
            if tag != ITEM:
                raise UnreadableImage(DAMAGED)
            piece = self.take(length)
            if not is_table:
                yield piece
            is_table = False

    def _skip_items(self, vr: bytes, depth: int) -> None:
        """Advance past the end of a sequence, or of fragments, of undefined length."""
        if depth > MAX_NESTING:
            raise UnreadableImage(f"The DICOM file's sequences are nested deeper than {MAX_NESTING}; export it again.")
        was_implicit = self._is_implicit
        self._is_implicit |= vr == b"UN"  # PS3.5, 6.2.2, note 2: items of unknown VR are implicit inside
        while True:
            tag, _, length = self.header()
            if tag == _SEQUENCE_END:
                break
            if tag != ITEM:
                raise UnreadableImage(DAMAGED)
            if length == UNDEFINED:
                self._skip_item(depth)
            else:
                self.take(length)
        self._is_implicit = was_implicit

    def _skip_item(self, depth: int) -> None:
        """Advance past the end of an item of undefined length."""
        while True:
            tag, vr, length = self.header()
            if tag == _ITEM_END:
                return
            if length == UNDEFINED:
                self._skip_items(vr, depth + 1)
            else:
                self.take(length)

    def _number(self, value: memoryview) -> int:
        return int.from_bytes(value, self._order)
