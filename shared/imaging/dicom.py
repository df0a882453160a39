"""From DICOM to grey pixels: checks that it is one plain frontal film, its size, and the meaning of its values.

Only a kind and a colour mode of the header leave this module; refusals use names from lists here, never text of the
file. Called by `decode`, inside the sandbox, in a decoder of its own (DECISIONS 59). The file's structure is read in
`dicom_file`, compression in `dicom_frame`, and values become grey in `dicom_grey`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from shared.arrays import Pixels
from shared.errors import NotFrontalFilm, UnreadableImage, UnsupportedFormat
from shared.imaging import dicom_frame
from shared.imaging.dicom_file import DicomFile, Elements
from shared.imaging.dicom_file import parse as parse_file
from shared.imaging.dicom_grey import STRIP_ROWS, Layout, apply, grey_table
from shared.imaging.orientation import UPRIGHT

MODALITIES: Final = frozenset({"CR", "DX", "DR", "RG"})
"""Computed and digital radiography, and digitised films (PS3.3, C.7.3.1.1.1); 'DR' is not in the standard, but some
devices write it.
"""
_OTHER_MODALITIES: Final[Mapping[str, str]] = MappingProxyType({
    "CT": "a CT image", "MR": "an MR image", "US": "an ultrasound image", "PT": "a PET image",
    "NM": "a nuclear medicine image", "MG": "a mammogram", "XA": "an angiogram", "RF": "a fluoroscopy image",
    "PX": "a panoramic dental image", "IO": "an intra-oral image", "BMD": "a bone density image",
    "ES": "an endoscopy image", "SM": "a microscopy image", "SR": "a report", "SEG": "a segmentation",
    "OT": "of no named kind ('OT')",
})  # fmt: skip
_LATERAL_VIEWS: Final = frozenset({"LL", "RL", "LLAT", "RLAT", "LAT", "LATERAL", "LLATERAL", "RLATERAL"})
"""Terms of a view position (PS3.3, C.8.1.1.1), and devices' abbreviations of them."""
_FRONTAL_VIEWS: Final = frozenset({"PA", "AP"})
"""A view position that names one of these beside a lateral term is not refused here: the input gate decides."""
_LATERAL_CODES: Final = frozenset({"399067008", "399173006", "399198007", "R-102CD", "R-10236", "R-10232"})
"""Lateral, left and right lateral (PS3.16, CID 4010), in the current and in the older coding."""
_GREY: Final[Mapping[str, bool]] = MappingProxyType({"MONOCHROME1": True, "MONOCHROME2": False})
"""Whether the smallest value is white."""
_MODES: Final[Mapping[int, str]] = MappingProxyType({8: "L", 16: "I;16"})
"""Bits allocated, and Pillow's mode for such a film."""

_MODALITY, _INTENT = 0x00080060, 0x00080068
_VIEW, _ORIENTATION, _VIEW_CODES, _CODE = 0x00185101, 0x00200020, 0x00540220, 0x00080100
_SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS = 0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011
_ALLOCATED, _STORED, _HIGH_BIT, _SIGNED = 0x00280100, 0x00280101, 0x00280102, 0x00280103


@dataclass(frozen=True, slots=True)
class DicomSource:
    """A DICOM film whose header was checked; its pixels are not decoded yet.

    Attributes:
        mode: 'L' or 'I;16', by the bits allocated.
        width_px, height_px: from the file's header.
        orientation: 1: a DICOM is stored upright.
        bits: allocated, stored and high.
        is_signed: values are in two's complement.
        is_inverted: the smallest value is white.
        file: the parsed file.
    """

    mode: str
    width_px: int
    height_px: int
    orientation: int
    bits: tuple[int, int, int]
    is_signed: bool
    is_inverted: bool
    file: DicomFile

    def read(self) -> Pixels:
        """Decode to the grey that a viewer shows: (H, W) uint8 where that loses nothing, else uint16.

        Raises:
            UnreadableImage: truncated, damaged, of another size than declared, or with unusable numbers.
            UnsupportedFormat: the frame is in colour.
        """
        pixels, frame_bits = dicom_frame.read(self.file, (self.height_px, self.width_px), self.bits[0])
        layout = self._layout(pixels, frame_bits)
        return apply(grey_table(self.file.elements, layout, is_inverted=self.is_inverted), pixels, layout)

    def _layout(self, pixels: Pixels, frame_bits: int | None) -> Layout:
        """Return the bits of `pixels` that hold the value: the header's, unless the frame declares and uses more."""
        allocated, stored, high = self.bits
        if frame_bits is None or (frame_bits == allocated and high + 1 > stored):
            return Layout(stored, high + 1 - stored, is_signed=self.is_signed)
        is_more = frame_bits > stored and _exceeds(pixels, frame_bits, Layout(stored, 0, is_signed=self.is_signed))
        return Layout(frame_bits if is_more else min(stored, frame_bits), 0, is_signed=self.is_signed)


def _exceeds(pixels: Pixels, frame_bits: int, layout: Layout) -> bool:
    """Whether a value of `frame_bits` bits needs more than those stored; a negative value has its sign in all bits."""
    half, mask = (
        pixels.dtype.type(value) for value in ((1 << layout.bits_stored - 1) * layout.is_signed, (1 << frame_bits) - 1)
    )
    beyond = pixels.dtype.type(layout.bits_stored)
    strips = (pixels[top : top + STRIP_ROWS] for top in range(0, len(pixels), STRIP_ROWS))
    return any((((strip + half) & mask) >> beyond).any() for strip in strips)


def parse(data: bytes) -> DicomSource:
    """Parse the file and check its header, before any pixel is decoded.

    Raises:
        NotFrontalFilm: another modality or view.
        UnsupportedFormat: a transfer syntax or kind of pixels that we do not read, or several frames.
        UnreadableImage: truncated, damaged, or numbers that contradict each other.
    """
    file = parse_file(data)
    elements = file.elements
    _check_modality(elements)
    _check_view(elements)
    is_inverted = _check_pixels(elements)
    bits = _bits(elements)
    return DicomSource(
        mode=_MODES[bits[0]],
        width_px=elements.word(_COLUMNS),
        height_px=elements.word(_ROWS),
        orientation=UPRIGHT,
        bits=bits,
        is_signed=elements.word(_SIGNED, 0) == 1,
        is_inverted=is_inverted,
        file=file,
    )


def _check_modality(elements: Elements) -> None:
    """Refuse other modalities than plain films, and a detector's raw data, which is not meant to be viewed."""
    modality = elements.text(_MODALITY)
    if modality not in MODALITIES:
        kind = _OTHER_MODALITIES.get(modality, "of another modality, or does not name one")
        raise NotFrontalFilm(f"This DICOM image is {kind}; send a plain film (CR, DX, DR or RG).")
    if elements.text(_INTENT) == "FOR PROCESSING":
        raise UnsupportedFormat(
            "This DICOM image is a detector's raw data ('for processing'); send the image for presentation."
        )


def _check_view(elements: Elements) -> None:
    """Refuse a lateral view: by its position, its code, or by rows or columns that run from back to front."""
    view = set(re.split(r"[^A-Z]+", elements.text(_VIEW)))
    item = elements.item(_VIEW_CODES)
    code = item.text(_CODE) if item else ""
    across, _, down = elements.text(_ORIENTATION).partition("\\")
    is_lateral = (
        (view & _LATERAL_VIEWS and not any(word in _FRONTAL_VIEWS or word.startswith("DECUB") for word in view))
        or code in _LATERAL_CODES
        or (set(across + down) & {"A", "P"} and {across[:1], down[:1]} <= {"A", "P", "F", "H"})
    )
    if is_lateral:
        raise NotFrontalFilm("This DICOM image is a lateral view; send the frontal one (PA or AP).")


def _check_pixels(elements: Elements) -> bool:
    """Refuse colours and several frames; return whether the smallest value is white."""
    frames = elements.decimal(_FRAMES)
    if frames is not None and not frames <= 1:
        raise UnsupportedFormat("The DICOM file holds several frames; send one film a file.")
    photometric = elements.text(_PHOTOMETRIC)
    if elements.word(_SAMPLES, 1) != 1 or photometric not in _GREY:
        raise UnsupportedFormat("The DICOM image is in colour; a CR or DX image is grey (MONOCHROME1 or MONOCHROME2).")
    return _GREY[photometric]


def _bits(elements: Elements) -> tuple[int, int, int]:
    """Return the bits allocated, the bits stored, and the position of the highest stored bit."""
    allocated = elements.word(_ALLOCATED)
    if allocated not in _MODES:
        raise UnsupportedFormat("The DICOM image has neither 8 nor 16 bits allocated per pixel; export the film again.")
    stored = elements.word(_STORED)
    high = elements.word(_HIGH_BIT, stored - 1)
    if not 1 <= stored <= high + 1 <= allocated:
        raise UnreadableImage("The DICOM file declares more stored bits than a pixel has; export the film again.")
    return allocated, stored, high
