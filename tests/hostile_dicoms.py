"""Hostile and odd DICOM files, made here, each under 1 MB, with the refusal that each must get; see `hostile_films`."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from shared.errors import NotFrontalFilm, TooManyPixels, UnreadableImage, UnsupportedFormat
from shared.imaging.dicom_walk import MAX_ELEMENTS, MAX_NESTING
from tests.dicoms import ENCODERS, make_dicom
from tests.factories import make_jpeg, make_pixels
from tests.hostile_films import Hostile

META_END = 144
"""Behind the element that tells how long the rest of the head is."""
UNDEFINED = 0xFFFFFFFF
MODALITIES = ("CT", "MR", "US", "PT", "NM", "MG", "XA", "RF", "PX", "IO", "OT", "HC", "")
BYTES = make_pixels()


def head_end(data: bytes) -> int:
    """Where the data set begins."""
    return META_END + int.from_bytes(data[META_END - 4 : META_END], "little")


def with_elements(data: bytes, elements: bytes) -> bytes:
    """Put before all others."""
    at = head_end(data)
    return data[:at] + elements + data[at:]


def nested(depth: int, *, is_private: bool = False) -> bytes:
    """Sequences in sequences, none of which tells its length."""
    start = struct.pack("<HH2s2xI", 0x0009 if is_private else 0x0008, 0x1140, b"SQ", UNDEFINED)
    item, item_end, end = (struct.pack("<HHI", 0xFFFE, number, size) for number, size in
                           ((0xE000, UNDEFINED), (0xE00D, 0), (0xE0DD, 0)))  # fmt: skip
    return (start + item) * depth + (item_end + end) * depth


def long_element(length: int, value: bytes = b"") -> bytes:
    """A private one, whose length may lie."""
    return struct.pack("<HH2s2xI", 0x0009, 0x1001, b"OB", length) + value


def with_pixel_length(length: int) -> bytes:
    """The pixels claim to be so long."""
    data = make_dicom()
    at = data.rindex(struct.pack("<HH2s2x", 0x7FE0, 0x0010, b"OW")) + 8
    return data[:at] + struct.pack("<I", length) + data[at + 4 :]


def with_numbers(**numbers: int) -> bytes:
    """A film whose header's numbers do not fit it."""
    return make_dicom(**numbers)


def with_syntax(uid: str, data: bytes | None = None) -> bytes:
    """What a film says that it is, whatever it is."""
    film = data or make_dicom()
    at = film.index(b"\x02\0\x10\0UI") + 6
    size = int.from_bytes(film[at : at + 2], "little")
    name = uid.encode() + bytes(len(uid) % 2)
    rest = struct.pack("<H", len(name)) + name + film[at + 2 + size :]
    length = head_end(film) - META_END + len(name) - size
    return film[: META_END - 4] + struct.pack("<I", length) + film[META_END:at] + rest


def in_pieces_of_their_size() -> bytes:
    """As many bytes as an uncompressed film has, but in pieces, of which each begins with eight of its own."""
    pixels = make_pixels(dtype=np.uint16)
    pieces = encapsulate([bytes(pixels.nbytes - 20)])
    assert len(pieces) == pixels.nbytes
    data = with_pixel_length(UNDEFINED)
    return data[: -pixels.nbytes] + pieces + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def deflated_bomb() -> bytes:
    """A megabyte for each kilobyte: 300 MB of zeros behind a head that says how they are packed."""
    data = with_syntax(DeflatedExplicitVRLittleEndian)
    packer = zlib.compressobj(9, wbits=-15)
    return data[: head_end(data)] + b"".join(packer.compress(bytes(2**20)) for _ in range(300)) + packer.flush()


def framed(syntax: str, change: Callable[[bytes], bytes], **elements: Any) -> bytes:
    """A compressed film of 16 bits, or 8 for JPEG, whose frame was changed."""
    pixels = BYTES if syntax == JPEGBaseline8Bit else make_pixels(dtype=np.uint16)
    frame = ENCODERS[syntax](pixels, pixels.dtype.itemsize * 8)
    return make_dicom(pixels=pixels, syntax=syntax, frame=change(frame), **elements)


def in_colour(photometric: str, samples: int) -> bytes:
    """Three samples a pixel, or a palette."""
    return make_dicom(PhotometricInterpretation=photometric, SamplesPerPixel=samples)


def half(frame: bytes) -> bytes:
    """The second half is missing."""
    return frame[: len(frame) // 2]


def run_lengths(*words: int, data: bytes = b"") -> bytes:
    """A header that lies."""
    return struct.pack("<16I", *words, *[0] * (16 - len(words))) + data


COMPRESSED = {"rle": RLELossless, "jpeg": JPEGBaseline8Bit, "lossless": JPEGLosslessSV1, "ls": JPEGLSLossless,
              "2000": JPEG2000Lossless}  # fmt: skip

HOSTILE_DICOMS: Mapping[str, Hostile] = {
    "magic_only": Hostile(lambda: bytes(128) + b"DICM", UnreadableImage),
    "zeros_behind_magic": Hostile(lambda: bytes(128) + b"DICM" + bytes(100), UnreadableImage),
    "no_preamble": Hostile(lambda: make_dicom()[132:], UnsupportedFormat),
    "no_head": Hostile(lambda: make_dicom()[head_end(make_dicom()) :], UnsupportedFormat),
    "rows_65535": Hostile(lambda: with_numbers(Rows=65535), TooManyPixels),
    "columns_65535": Hostile(lambda: with_numbers(Columns=65535), TooManyPixels),
    "both_65535": Hostile(lambda: with_numbers(Rows=65535, Columns=65535), TooManyPixels),
    "rows_8192_of_48": Hostile(lambda: with_numbers(Rows=4000, Columns=4000), UnreadableImage),
    "rows_0": Hostile(lambda: with_numbers(Rows=0), UnreadableImage),
    "no_rows": Hostile(lambda: make_dicom(Rows=None), UnreadableImage),
    "one_row_less": Hostile(lambda: with_numbers(Rows=47), UnreadableImage),
    "frames_100000": Hostile(lambda: with_numbers(NumberOfFrames=100000), UnsupportedFormat),
    **{f"allocated_{bits}": Hostile(lambda bits=bits: with_numbers(BitsAllocated=bits), UnsupportedFormat)
       for bits in (0, 1, 7, 12, 32, 64)},
    "stored_more_than_allocated": Hostile(lambda: with_numbers(BitsStored=17, HighBit=16), UnreadableImage),
    "stored_0": Hostile(lambda: with_numbers(BitsStored=0), UnreadableImage),
    "high_bit_65535": Hostile(lambda: with_numbers(HighBit=65535), UnreadableImage),
    "slope_0": Hostile(lambda: make_dicom(RescaleSlope=0, RescaleIntercept=0), UnreadableImage),
    "slope_nan": Hostile(lambda: make_dicom(RescaleSlope="99", RescaleIntercept=0).replace(b"99", b"NA", 1),
                         UnreadableImage),
    "nested_65": Hostile(lambda: with_elements(make_dicom(), nested(MAX_NESTING + 1)), UnreadableImage),
    "nested_3000": Hostile(lambda: with_elements(make_dicom(), nested(3000)), UnreadableImage),
    "nested_3000_private": Hostile(lambda: with_elements(make_dicom(), nested(3000, is_private=True)), UnreadableImage),
    "nested_without_end": Hostile(lambda: with_elements(make_dicom(), nested(3)[:60]), UnreadableImage),
    "element_of_4_gb": Hostile(lambda: with_elements(make_dicom(), long_element(UNDEFINED - 1)), UnreadableImage),
    "element_swallows_all": Hostile(
        lambda: with_elements(make_dicom(), long_element(len(make_dicom()) - head_end(make_dicom()))), UnreadableImage
    ),
    "many_elements": Hostile(
        lambda: with_elements(make_dicom(), struct.pack("<HH2sH", 9, 0x1001, b"LO", 0) * (MAX_ELEMENTS + 1)),
        UnreadableImage,
    ),
    "pixels_of_4_gb": Hostile(lambda: with_pixel_length(UNDEFINED - 1), UnreadableImage),
    "pixels_of_2_bytes": Hostile(lambda: with_pixel_length(2), UnreadableImage),
    "pixels_in_pieces_uncompressed": Hostile(lambda: with_pixel_length(UNDEFINED), UnreadableImage),
    "pixels_in_pieces_of_their_size": Hostile(in_pieces_of_their_size, UnreadableImage),
    "deflated_bomb": Hostile(deflated_bomb, UnsupportedFormat),
    "syntax_mpeg": Hostile(lambda: with_syntax("1.2.840.10008.1.2.4.100"), UnsupportedFormat),
    "syntax_unknown": Hostile(lambda: with_syntax("1.2.3.4.5"), UnsupportedFormat),
    "compressed_but_not": Hostile(lambda: with_syntax(JPEGLosslessSV1), UnreadableImage),
    **{f"modality_{name or 'none'}": Hostile(lambda name=name: make_dicom(Modality=name), NotFrontalFilm)
       for name in MODALITIES},
    "modality_missing": Hostile(lambda: make_dicom(Modality=None), NotFrontalFilm),
    **{f"view_{view}": Hostile(lambda view=view: make_dicom(ViewPosition=view), NotFrontalFilm)
       for view in ("LL", "RL", "LATERAL", "LEFT LATERAL", "L LAT", "XTABLE LAT")},
    **{f"rows_run_{across}_{down}": Hostile(lambda of=[across, down]: make_dicom(PatientOrientation=of), NotFrontalFilm)
       for across, down in (("A", "F"), ("P", "FR"), ("F", "A"), ("H", "P"))},
    "for_processing": Hostile(lambda: make_dicom(PresentationIntentType="FOR PROCESSING"), UnsupportedFormat),
    "three_greys": Hostile(lambda: in_colour("MONOCHROME2", 3), UnsupportedFormat),
    "rgb": Hostile(lambda: in_colour("RGB", 3), UnsupportedFormat),
    "ybr": Hostile(lambda: in_colour("YBR_FULL_422", 3), UnsupportedFormat),
    "palette": Hostile(lambda: in_colour("PALETTE COLOR", 1), UnsupportedFormat),
    **{f"{name}_cut": Hostile(lambda syntax=syntax: framed(syntax, half), UnreadableImage)
       for name, syntax in COMPRESSED.items()},
    **{f"{name}_empty": Hostile(lambda syntax=syntax: framed(syntax, lambda _: b"\0\0"), UnreadableImage)
       for name, syntax in COMPRESSED.items()},
    **{f"{name}_noise": Hostile(lambda syntax=syntax: framed(syntax, lambda _: b"film" * 999), UnreadableImage)
       for name, syntax in COMPRESSED.items()},
    **{f"{name}_of_another_size": Hostile(lambda syntax=syntax: framed(syntax, bytes, Rows=4000, Columns=4000),
                                          UnreadableImage)
       for name, syntax in COMPRESSED.items()},
    "rle_one_segment": Hostile(lambda: framed(RLELossless, lambda _: run_lengths(1, 64)), UnreadableImage),
    "rle_segments_cross": Hostile(lambda: framed(RLELossless, lambda _: run_lengths(2, 5000, 64)), UnreadableImage),
    "rle_segment_in_header": Hostile(lambda: framed(RLELossless, lambda _: run_lengths(2, 0, 64)), UnreadableImage),
    "rle_runs_of_nothing": Hostile(
        lambda: framed(RLELossless, lambda _: run_lengths(2, 64, 999, data=b"\x80" * 9000)), UnreadableImage
    ),
    "rle_longer_than_any": Hostile(
        lambda: framed(RLELossless, lambda _: run_lengths(2, 64, 2**17, data=b"\x80" * 2**18)), UnreadableImage
    ),
    "jpeg_in_colour": Hostile(
        lambda: make_dicom(pixels=BYTES, syntax=JPEGBaseline8Bit, frame=make_jpeg(mode="RGB")), UnsupportedFormat
    ),
}  # fmt: skip

ODD_DICOMS: Mapping[str, Callable[[], bytes]] = {
    "window_of_width_0": lambda: make_dicom(WindowCenter=100, WindowWidth=0),
    "nested_64": lambda: with_elements(make_dicom(), nested(MAX_NESTING)),
    "a_tiff_in_the_preamble": lambda: b"II*\0" + make_dicom()[4:],
    "garbage_behind": lambda: make_dicom() + b"<script>alert(1)</script>",
    "decubitus": lambda: make_dicom(ViewPosition="LATERAL DECUB"),
    "a_digitised_film": lambda: make_dicom(Modality="RG", ViewPosition=None, PatientOrientation=None),
    "one_frame_told": lambda: make_dicom(NumberOfFrames=1),
    "implicit": lambda: make_dicom(syntax=ImplicitVRLittleEndian),
    "explicit": lambda: make_dicom(syntax=ExplicitVRLittleEndian),
    **{name: lambda syntax=syntax: framed(syntax, bytes) for name, syntax in COMPRESSED.items()},
}
