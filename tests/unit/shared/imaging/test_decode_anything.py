"""What the decoder makes of bytes that nobody meant for it: cut, mutated, arbitrary, and a folder of odd files."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain import Film
from shared.errors import (
    NotFrontalFilm,
    RefusedUpload,
    TooManyPixels,
    UnreadableImage,
    UnsupportedFormat,
)
from shared.imaging import decode as decode_module
from shared.imaging.decode import decode
from shared.imaging.jpeg import SIGNATURE as JPEG_SIGNATURE
from shared.imaging.png import SIGNATURE as PNG_SIGNATURE
from tests.factories import (
    make_png,
    make_png_chunk,
    make_raw_png,
)
from tests.hostile_films import (
    cut_jpeg,
    film_jpeg,
    film_png,
    segment,
    zero_run,
)


def test_no_cut_or_zeroed_jpeg_passes() -> None:
    """Of 300 JPEGs cut with an end marker put behind, and 300 with a run of zeros, none passes (Pillow: all)."""
    data = film_jpeg()
    rng = np.random.default_rng(20)
    for share in rng.uniform(0.01, 0.99, 300):
        for broken in (cut_jpeg(data, share, end=b"\xff\xd9"), zero_run(data, share)):
            with pytest.raises(UnreadableImage):
                decode(broken)


@pytest.mark.parametrize("mode", [None, "RGB", "CMYK"])
def test_no_progressive_jpeg_that_lacks_a_scan_passes(mode: str | None) -> None:
    """Cut at the end of each scan with an end marker put behind: all rows are there, in less detail than was sent."""
    data = film_jpeg(mode=mode, progressive=True)
    assert decode(data).facts.kind == "jpeg"
    scans = [found.start() for found in re.finditer(rb"\xff\xda", data)]
    for start in scans[1:]:
        tables = data.rfind(b"\xff\xc4", 0, start)
        for end in (start, tables):
            with pytest.raises(UnreadableImage):
                decode(data[:end] + b"\xff\xd9")


@pytest.mark.parametrize("body", [b"", b"\x01", b"\x01\x01\x00", b"\x01\x01\x00\xff\x00\xff"])
def test_a_scan_without_its_header_is_refused(body: bytes) -> None:
    """Or with one that makes no sense."""
    with pytest.raises(UnreadableImage):
        decode(film_jpeg(progressive=True)[:-2] + segment(0xDA, body) + b"\xff\xd9")


def decode_or_refuse(data: bytes) -> Film | None:
    """Decode; None for a refusal; anything else escapes and fails the test."""
    try:
        return decode(data)
    except RefusedUpload:
        return None


@given(start=st.sampled_from([b"", PNG_SIGNATURE, JPEG_SIGNATURE]), rest=st.binary(max_size=2000))
def test_arbitrary_bytes_never_crash(start: bytes, rest: bytes) -> None:
    """Whatever the bytes are, the decoder raises refusals only."""
    assert decode_or_refuse(start + rest) is None


@settings(max_examples=200)
@given(
    data=st.sampled_from([film_png(), film_jpeg(), film_jpeg(mode="RGB", progressive=True), make_png(mode="P")]),
    edits=st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6),
)
def test_mutated_films_never_crash(data: bytes, edits: list[tuple[float, bytes]]) -> None:
    """A film with bytes overwritten anywhere is refused, or decoded within the limits."""
    mutated = bytearray(data)
    for share, patch in edits:
        at = int(share * len(mutated))
        mutated[at : at + len(patch)] = patch
    film = decode_or_refuse(bytes(mutated))
    if film:
        height_px, width_px = film.pixels.shape
        decode_module.check_size(width_px, height_px)


@given(
    kind=st.sampled_from([b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"iCCP", b"zTXt", b"acTL", b"fcTL", b"gAMA"]),
    body=st.binary(max_size=60),
    colour=st.sampled_from([0, 2, 3, 4, 6]),
)
def test_arbitrary_chunks_never_crash(kind: bytes, body: bytes, colour: int) -> None:
    """A PNG with any chunk of any content, its checksum right, is decoded or refused."""
    decode_or_refuse(make_raw_png(colour=colour, before=[make_png_chunk(kind=kind, body=body)]))


ODD_FILES = Path(os.environ.get("PLAINFILM_DATA", Path(__file__).parents[5] / "shared/data")) / "odd"
"""Real films, good and bad; not part of the repository."""


OUTCOMES: dict[str, type[RefusedUpload] | tuple[str, int, int]] = {
    "all_black_512.png": ("L", 512, 512),
    "all_white_512.png": ("L", 512, 512),
    "animated.gif": UnsupportedFormat,
    "animated_apng.png": UnsupportedFormat,
    "bilevel_1bit.png": ("1", 640, 599),
    "bomb_30000x30000.png": TooManyPixels,
    "cmyk.jpg": ("CMYK", 640, 599),
    "ct_coronal_16745.png": ("RGBA", 858, 629),
    "cxr.heic": UnsupportedFormat,
    "cxr.tif": UnsupportedFormat,
    "dicom_CT_small.dcm": NotFrontalFilm,
    "exif_orientation6_with_name.jpg": ("L", 640, 599),
    "gray16.png": ("I;16", 640, 599),
    "huge_4298x4300_lateral.jpg": ("RGB", 4298, 4300),
    "jfif_164.jfif": ("RGB", 797, 821),
    "noise_512.png": ("L", 512, 512),
    "pdf_as.png": UnsupportedFormat,
    "polyglot_html.gif": UnsupportedFormat,
    "polyglot_jpeg_zip.jpg": ("L", 640, 599),
    "rgba_actualmed.png": ("RGBA", 2498, 1972),
    "text_as.jpg": UnsupportedFormat,
    "tiny_1x1.png": TooManyPixels,
    "tiny_8x8.png": TooManyPixels,
    "truncated.jpg": UnreadableImage,
    "truncated_header.jpg": UnreadableImage,
    "webp_139.webp": UnsupportedFormat,
}


@pytest.mark.skipif(not ODD_FILES.is_dir(), reason="the folder of odd films is not here")
@pytest.mark.parametrize("name", OUTCOMES)
def test_an_odd_file_has_its_outcome(name: str) -> None:
    """Each of the collected odd files is decoded to its mode and upright size, or refused by its class."""
    expected = OUTCOMES[name]
    data = (ODD_FILES / name).read_bytes()
    if isinstance(expected, tuple):
        facts = decode(data).facts
        assert (facts.mode, facts.width_px, facts.height_px) == expected
    else:
        with pytest.raises(expected):
            decode(data)
