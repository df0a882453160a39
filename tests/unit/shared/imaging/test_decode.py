"""What the decoder promises: every film whole, grey and upright, or a refusal that says why."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from shared.errors import (
    DecodeLimit,
    RefusedUpload,
    TooLarge,
    TooManyPixels,
    UnreadableImage,
)
from shared.imaging import decode as decode_module
from shared.imaging.decode import MAX_INPUT_BYTES, MAX_SIDE_PX, MIN_SIDE_PX, check_input_size, decode
from shared.imaging.orientation import find_orientation
from tests.factories import (
    GREY_ALPHA,
    PALETTE,
    RGB,
    make_exif,
    make_jpeg,
    make_pixels,
    make_png,
    make_png_chunk,
    make_raw_png,
)
from tests.hostile_films import (
    CANARY,
    HOSTILE,
    ODD,
    Hostile,
    adam7_columns,
    film_jpeg,
    jpeg_of_scans,
    segment,
    with_segments,
)

UPRIGHT = make_pixels(height_px=40, width_px=56)


STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT),
    7: np.rot90(UPRIGHT, 2).T,
    8: np.rot90(UPRIGHT, -1),
}
"""How a film is stored that each EXIF orientation turns upright."""


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_film_is_refused(hostile: Hostile) -> None:
    """Each hostile film under 1 MB is refused with the right class and a whole sentence."""
    data = hostile.make()
    assert len(data) < 1_000_000
    with pytest.raises(RefusedUpload) as caught:
        decode(data)
    assert type(caught.value) is hostile.refusal
    assert caught.value.detail.endswith(".")
    assert caught.value.detail.isprintable()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # the reference decoder's, not ours
@pytest.mark.parametrize("make", ODD.values(), ids=ODD.keys())
def test_an_odd_film_is_decoded(make: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each odd but valid film comes out as Pillow's own decoder sees it, which keeps the high byte of 16-bit colour."""
    data = make()
    film = decode(data)
    monkeypatch.setattr("PIL.PngImagePlugin.MAX_TEXT_CHUNK", 2**30)
    monkeypatch.setattr("PIL.PngImagePlugin.MAX_TEXT_MEMORY", 2**30)
    with Image.open(io.BytesIO(data)) as picture:
        expected = np.asarray(picture if picture.mode == "I;16" else picture.convert("L"))
    pixels = film.pixels >> 8 if film.facts.mode == "RGB" and film.facts.bit_depth == 16 else film.pixels
    assert pixels.dtype.itemsize >= expected.dtype.itemsize
    assert np.abs(pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_png_comes_out_upright(orientation: int, byte_order: str) -> None:
    """A PNG's eXIf orientation is applied, pixel for pixel."""
    exif = make_exif(orientation=orientation, byte_order=byte_order)
    film = decode(make_png(pixels=np.ascontiguousarray(STORED[orientation]), exif=exif))
    np.testing.assert_array_equal(film.pixels, UPRIGHT)
    assert (film.facts.width_px, film.facts.height_px) == (56, 40)
    assert film.pixels.flags.c_contiguous


@pytest.mark.parametrize("orientation", STORED)
def test_jpeg_comes_out_upright(orientation: int) -> None:
    """A JPEG's EXIF orientation is applied; the pixels agree as well as JPEG's loss allows."""
    stored = np.ascontiguousarray(STORED[orientation])
    film = decode(make_jpeg(pixels=stored, quality=95, exif=b"Exif\0\0" + make_exif(orientation=orientation)))
    assert np.abs(film.pixels.astype(int) - UPRIGHT).max() <= 8


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\x7f",
        b"film" * 9,
        make_exif()[:20],
        make_exif(orientation=0),
        make_exif(orientation=9),
    ],
)
def test_broken_exif_leaves_the_film_as_stored(block: bytes) -> None:
    """EXIF that is broken or says nonsense is no reason to refuse or to turn a film."""
    assert find_orientation(block) == 1


def test_exif_without_orientation_leaves_the_film_as_stored() -> None:
    """A directory without the tag means upright."""
    assert find_orientation(make_exif(orientation=6).replace(b"\x12\x01\x03", b"\x13\x01\x03")) == 1


def test_exif_behind_the_pixels_is_not_read() -> None:
    """Only EXIF in front of the first scan counts, as other readers do."""
    late = segment(0xE1, b"Exif\0\0" + make_exif(orientation=6))
    data = make_jpeg()
    assert decode(data[:-2] + late + data[-2:]).facts.width_px == 64


def test_sixteen_bits_are_kept() -> None:
    """16-bit grey stays 16-bit, value for value."""
    pixels = make_pixels(dtype=np.uint16)
    film = decode(make_png(pixels=pixels))
    np.testing.assert_array_equal(film.pixels, pixels)
    assert film.pixels.dtype == np.uint16
    assert (film.facts.bit_depth, film.facts.mode) == (16, "I;16")


def test_interlaced_rows_are_counted_exactly() -> None:
    """An interlaced film of an odd size is read, and refused when its last pass lacks a row or a byte."""
    rows = b"".join(b"\0" + b"\xff" * count for count in adam7_columns(33, 37))
    size = {"width_px": 33, "height_px": 37, "interlaced": True}
    assert decode(make_raw_png(rows=rows, **size)).pixels.shape == (37, 33)
    for missing in (1, 34, 18 * 34):
        with pytest.raises(UnreadableImage):
            decode(make_raw_png(rows=rows[:-missing], **size))


def test_facts_are_right() -> None:
    """The facts name kind, mode, depth, size and the two digests."""
    data = make_png(mode="RGB")
    film = decode(data)
    facts = film.facts
    assert (facts.kind, facts.mode, facts.bit_depth) == ("png", "RGB", 8)
    assert (facts.width_px, facts.height_px) == (64, 48)
    assert facts.input_sha256 == hashlib.sha256(data).hexdigest()
    assert facts.pixels_sha256 == hashlib.sha256(film.pixels.tobytes()).hexdigest()
    assert decode(make_jpeg()).facts.kind == "jpeg"


def test_sixteen_bit_digest_is_of_little_endian_pixels() -> None:
    """The digest of 16-bit pixels does not depend on the machine."""
    pixels = make_pixels(dtype=np.uint16)
    expected = hashlib.sha256(pixels.astype("<u2").tobytes()).hexdigest()
    assert decode(make_png(pixels=pixels)).facts.pixels_sha256 == expected


@pytest.mark.parametrize(("red", "green", "blue", "grey"), [(255, 0, 0, 76), (0, 255, 0, 150), (0, 0, 255, 29)])
def test_colour_becomes_luma(red: int, green: int, blue: int, grey: int) -> None:
    """Grey is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), from PNG and JPEG alike."""
    colour = np.full((40, 40, 3), (red, green, blue), np.uint8)
    assert (decode(make_png(pixels=colour)).pixels == grey).all()
    assert np.abs(decode(make_jpeg(pixels=colour, quality=95)).pixels.astype(int) - grey).max() <= 2


def test_cmyk_is_not_inverted() -> None:
    """An Adobe CMYK JPEG comes out as light and dark as it was."""
    film = decode(make_jpeg(mode="CMYK", quality=95))
    assert np.abs(film.pixels.astype(int) - make_pixels()).max() <= 6
    assert film.facts.mode == "CMYK"


def test_tall_cmyk_has_no_seams() -> None:
    """A CMYK film of several strips of rows is one film."""
    pixels = make_pixels(height_px=700, width_px=80)
    film = decode(make_jpeg(pixels=pixels, mode="CMYK", quality=95))
    assert np.abs(film.pixels.astype(int) - pixels).max() <= 6


def test_transparency_lies_on_black() -> None:
    """Transparent pixels are black, half-transparent ones half as light, whatever colour lies below."""
    pixels = np.full((40, 40, 4), 200, np.uint8)
    pixels[:10, :, 3] = 0
    pixels[10:20, :, 3] = 128
    pixels[20:, :, 3] = 255
    film = decode(make_png(pixels=pixels))
    assert [int(film.pixels[row, 5]) for row in (5, 15, 30)] == [0, 100, 200]


def test_grey_with_alpha_lies_on_black() -> None:
    """The same for grey with alpha, 8 and 16 bits."""
    rows = (b"\0" + b"\xc8\x80" * 40) * 40
    wide = (b"\0" + b"\xc8\xc8\x80\x80" * 40) * 40
    assert (decode(make_raw_png(colour=GREY_ALPHA, rows=rows)).pixels == 100).all()
    assert (decode(make_raw_png(colour=GREY_ALPHA, bits=16, rows=wide)).pixels == round(0xC8C8 * 0x8080 / 0xFFFF)).all()


def test_palette_with_transparency_lies_on_black() -> None:
    """A palette's colours and their opacities are looked up; what lies beyond the palette is black."""
    chunks = [make_png_chunk(kind=b"PLTE", body=b"\xc8" * 9), make_png_chunk(kind=b"tRNS", body=b"\xff\x80\x00")]
    rows = b"".join(b"\0" + bytes([index]) * 40 for index in (0, 1, 2, 200) * 10)
    film = decode(make_raw_png(colour=PALETTE, before=chunks, rows=rows))
    assert film.pixels[:4, 0].tolist() == [200, 100, 0, 0]


def test_palette_without_transparency_is_looked_up() -> None:
    """An index means its colour's luma; what lies beyond the palette is black."""
    palette = make_png_chunk(kind=b"PLTE", body=b"\xff\0\0\xc8\xc8\xc8")
    rows = b"".join(b"\0" + bytes([index]) * 40 for index in (0, 1, 2, 255) * 10)
    film = decode(make_raw_png(colour=PALETTE, before=[palette], rows=rows))
    assert film.pixels[:4, 0].tolist() == [76, 200, 0, 0]


def test_a_transparent_colour_makes_no_holes() -> None:
    """A grey or RGB film's single transparent colour is ignored."""
    key = make_png_chunk(kind=b"tRNS", body=b"\0\x64" * 3)
    film = decode(make_raw_png(colour=RGB, before=[key], rows=(b"\0" + b"\x64" * 120) * 40))
    assert (film.pixels == 100).all()


def test_one_bit_is_black_and_white() -> None:
    """A 1-bit film has the values 0 and 255."""
    film = decode(make_raw_png(bits=1, rows=(b"\0" + b"\xf0" * 5) * 40))
    assert np.unique(film.pixels).tolist() == [0, 255]
    assert film.facts.mode == "1"


def test_names_inside_the_file_come_out_nowhere() -> None:
    """A name in EXIF, text, comment or behind the end is neither in the facts nor in the pixels."""
    exif = make_exif(orientation=6, name=CANARY)
    comment = segment(0xFE, CANARY.encode()) + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + CANARY.encode())
    text = make_png_chunk(kind=b"tEXt", body=b"Patient\0" + CANARY.encode())
    exif = make_png_chunk(kind=b"eXIf", body=exif)
    for data in (
        with_segments(make_jpeg(exif=b"Exif\0\0" + exif), comment) + CANARY.encode(),
        make_raw_png(before=[text, exif], after=CANARY.encode()),
    ):
        film = decode(data)
        assert CANARY.encode() in data
        assert CANARY not in repr(film.facts)
        assert CANARY.encode() not in film.pixels.tobytes()


@pytest.mark.parametrize(
    ("width_px", "height_px"),
    [(MIN_SIDE_PX, MIN_SIDE_PX), (MIN_SIDE_PX, 10 * MIN_SIDE_PX), (MAX_SIDE_PX, 820)],
)
def test_a_film_at_the_limits_is_read(width_px: int, height_px: int) -> None:
    """The smallest, the longest and the widest film allowed are read."""
    film = decode(make_raw_png(width_px=width_px, height_px=height_px))
    assert film.pixels.shape == (height_px, width_px)


@pytest.mark.parametrize(("width_px", "height_px"), [(6400, 6251), (8193, 4000), (31, 32), (32, 321)])
def test_a_film_just_beyond_the_limits_is_refused(width_px: int, height_px: int) -> None:
    """One pixel more, one side longer, one side smaller or longer and thinner is refused."""
    with pytest.raises(TooManyPixels, match=f"{width_px} x {height_px}"):
        decode_module.check_size(width_px, height_px)


def test_too_many_bytes_are_refused() -> None:
    """More bytes than the limit are refused, the limit itself is not."""
    check_input_size(MAX_INPUT_BYTES)
    with pytest.raises(TooLarge):
        check_input_size(MAX_INPUT_BYTES + 1)


def test_too_little_memory_is_a_decode_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A film that does not fit into memory is refused as over the limit, not as unreadable."""

    def full(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", full)
    with pytest.raises(DecodeLimit):
        decode(make_png(mode="P"))


def test_scans_are_counted_before_decoding() -> None:
    """A progressive JPEG with more scans than any encoder writes is refused for that, a usual one is not."""
    assert decode(film_jpeg(progressive=True)).pixels.shape == (256, 256)
    with pytest.raises(UnreadableImage, match="64 scans"):
        decode(jpeg_of_scans(65))
