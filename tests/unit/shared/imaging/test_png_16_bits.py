"""16 bits a colour in a PNG come out value for value; the rows are written here, since Pillow keeps 8 of 16."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from shared.errors import UnreadableImage
from shared.imaging.decode import decode
from tests.factories import GREY_ALPHA, RGB, RGB_ALPHA, make_png, make_raw_png
from tests.hostile_films import ADAM7

CHANNELS = {GREY_ALPHA: 2, RGB: 3, RGB_ALPHA: 4}
OPAQUE = 65535
TWELVE_BITS = np.random.default_rng(12).integers(0, 4096, (37, 41), np.uint16)


def raw_rows(values: npt.NDArray[np.uint16]) -> bytes:
    """(h, w, C) to rows that are stored as they are, less the pixel to the left, and less the row above, in turn."""
    height_px, _, channels = values.shape
    stored = values.astype(">u2").view(np.uint8).reshape(height_px, -1)
    left, above = np.zeros_like(stored), np.zeros_like(stored)
    left[:, 2 * channels :], above[1:] = stored[:, : -2 * channels], stored[:-1]
    kinds = [stored, stored - left, stored - above]
    return b"".join(bytes([row % 3]) + kinds[row % 3][row].tobytes() for row in range(height_px))


def make_png_of_16_bits(values: npt.NDArray[np.uint16], *, interlaced: bool = False) -> bytes:
    """(H, W, C) as grey and alpha, RGB or RGBA."""
    height_px, width_px, channels = values.shape
    colour = next(colour for colour, count in CHANNELS.items() if count == channels)
    passes = [values[top::down, left::across] for left, top, across, down in ADAM7] if interlaced else [values]
    return make_raw_png(
        width_px=width_px, height_px=height_px, bits=16, colour=colour, interlaced=interlaced,
        rows=b"".join(map(raw_rows, passes)),
    )  # fmt: skip


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("colour", CHANNELS)
def test_a_12_bit_film_keeps_all_its_levels(colour: int, interlaced: bool) -> None:  # noqa: FBT001 - parametrised
    """Not 16 of them; in whatever colour type an exporter puts it, and on every row's filter."""
    values = np.repeat(TWELVE_BITS[:, :, np.newaxis], CHANNELS[colour], axis=2)
    if colour != RGB:
        values[..., -1] = OPAQUE
    film = decode(make_png_of_16_bits(values, interlaced=interlaced))
    np.testing.assert_array_equal(film.pixels, TWELVE_BITS)
    assert film.pixels.dtype == np.uint16
    assert film.facts.bit_depth == 16


def test_colours_become_luma() -> None:
    """Within half a level of 0.299 R + 0.587 G + 0.114 B, at both ends of the range, too; over several strips."""
    values = np.random.default_rng(3).integers(0, 65536, (200, 40, 3), np.uint16)
    values[0], values[-1] = 65535, 0
    luma = values @ (0.299, 0.587, 0.114)
    assert np.abs(decode(make_png_of_16_bits(values)).pixels - luma).max() < 1


@pytest.mark.parametrize("colour", [GREY_ALPHA, RGB_ALPHA])
def test_transparency_lies_on_black(colour: int) -> None:
    """Each value times its opacity, rounded."""
    values = np.random.default_rng(4).integers(0, 65536, (40, 40, CHANNELS[colour]), np.uint16)
    values[..., :-1] = values[..., :1]
    values[0], values[1, :, -1] = 65535, 0
    expected = np.rint(values[..., 0].astype(float) * values[..., -1] / 65535)
    np.testing.assert_array_equal(decode(make_png_of_16_bits(values)).pixels, expected)


@pytest.mark.parametrize("colour", CHANNELS)
def test_a_missing_row_is_refused(colour: int) -> None:
    """Also where the last row is black, which Pillow cannot tell from one that did not come."""
    values = np.zeros((40, 40, CHANNELS[colour]), np.uint16)
    rows = raw_rows(values)
    size = {"width_px": 40, "height_px": 40, "bits": 16, "colour": colour}
    assert not decode(make_raw_png(rows=rows, **size)).pixels.any()
    with pytest.raises(UnreadableImage):
        decode(make_raw_png(rows=rows[: -len(rows) // 40], **size))


def test_8_bits_stay_8_bits() -> None:
    """Only 16-bit films become larger."""
    assert decode(make_png(mode="RGBA")).facts.bit_depth == 8
