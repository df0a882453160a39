"""Plain grey and RGB, which kornia-rs reads, come out as Pillow reads them: whatever filters, sizes and bytes."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shared.errors import UnreadableImage
from shared.imaging import png
from shared.imaging.decode import decode
from tests.factories import GREY, GREY_ALPHA, RGB, make_raw_png
from tests.hostile_films import ADAM7

SORTS = [(GREY, 8), (GREY, 16), (RGB, 8)]
FILTERS = 5
WHOLE = ((0, 0, 1, 1),)


def make_rows(width_px: int, height_px: int, pixel_bytes: int, seed: int, *, interlaced: bool) -> bytes:
    """Rows of noise, each by a filter of its own, over all passes: any bytes behind a filter's number are a row."""
    draw, rows = np.random.default_rng(seed), []
    for left, top, across, down in ADAM7 if interlaced else WHOLE:
        columns, count = -(-(width_px - left) // across), -(-(height_px - top) // down)
        noise = draw.integers(0, 256, (count, 1 + columns * pixel_bytes), np.uint8)
        noise[:, 0] %= FILTERS
        rows.append(noise.tobytes())
    return b"".join(rows)


@given(
    sort=st.sampled_from(SORTS),
    width_px=st.integers(32, 90),
    height_px=st.integers(32, 90),
    seed=st.integers(0, 2**32),
    interlaced=st.booleans(),
)
def test_pixels_are_pillows(sort: tuple[int, int], width_px: int, height_px: int, seed: int, interlaced: bool) -> None:  # noqa: FBT001  drawn
    """To the last bit, 16 bits and luma among them; and Pillow is not asked."""
    colour, bits = sort
    rows = make_rows(width_px, height_px, (3 if colour == RGB else 1) * bits // 8, seed, interlaced=interlaced)
    data = make_raw_png(
        width_px=width_px, height_px=height_px, bits=bits, colour=colour, interlaced=interlaced, rows=rows
    )
    with Image.open(io.BytesIO(data)) as picture:
        expected = np.asarray(picture.convert("L") if colour == RGB else picture)
    film = decode(data)
    np.testing.assert_array_equal(film.pixels, expected)
    assert film.pixels.dtype == expected.dtype
    assert film.pixels.flags.c_contiguous


@pytest.mark.parametrize(("colour", "bits"), SORTS)
def test_it_is_not_pillow_that_reads_them(colour: int, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else these tests would compare Pillow with itself."""
    monkeypatch.setattr(png, "_load", pytest.fail)
    assert decode(make_raw_png(colour=colour, bits=bits)).pixels.shape == (40, 40)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "bits"), SORTS)
def test_a_row_less_is_refused(colour: int, bits: int, interlaced: bool) -> None:  # noqa: FBT001  parametrised
    """Also where the data ends just behind a row."""
    row = (3 if colour == RGB else 1) * bits // 8 * 40 + 1
    rows = make_rows(40, 40, (row - 1) // 40, 7, interlaced=interlaced)
    with pytest.raises(UnreadableImage, match="before its last row"):
        decode(make_raw_png(colour=colour, bits=bits, interlaced=interlaced, rows=rows[:-row]))


def test_the_sum_inside_the_data_is_not_compared() -> None:
    """The chunk's CRC over the same bytes has been; Pillow, which reads grey with alpha, compares both."""

    def with_wrong_sum(rows: bytes) -> bytes:
        return zlib.compress(rows)[:-1] + b"\x55"

    assert not decode(make_raw_png(idat=with_wrong_sum(bytes(41 * 40)))).pixels.any()
    with pytest.raises(UnreadableImage):
        decode(make_raw_png(colour=GREY_ALPHA, idat=with_wrong_sum(bytes(81 * 40))))
