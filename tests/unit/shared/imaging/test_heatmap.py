"""What the pictures promise: the right size, the film still visible, and no number changed."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from shared.errors import WrongShape
from shared.imaging.heatmap import INFERNO, MAX_ALPHA, MAX_OVERLAY_SIDE_PX, film_png, heatmap_png, stretch
from shared.imaging.preprocess import window
from tests.factories import make_pixels


def opened(data: bytes, mode: str) -> npt.NDArray[np.uint8]:
    """The picture's values in a mode."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
        return np.asarray(picture.convert(mode))


def flat(value: float) -> npt.NDArray[np.float32]:
    """A 5 x 5 map of one value."""
    return np.full((5, 5), value, np.float32)


@pytest.mark.parametrize(("value", "row"), [(0.0, 0), (0.5, 8), (1.0, 16)])
def test_a_value_has_its_colour_and_opacity(value: float, row: int) -> None:
    """Zero is transparent, one is the lightest colour at the greatest opacity, a half lies between."""
    overlay = opened(heatmap_png(flat(value), 60, 40), "RGBA")
    assert np.abs(overlay[..., :3].astype(int) - INFERNO[row]).max() <= 2
    assert np.abs(overlay[..., 3] - value * MAX_ALPHA * 255).max() <= 1


def test_lightness_grows_with_the_value() -> None:
    """The colour map never gets darker, so that it reads in grey as well."""
    luma = INFERNO.astype(float) @ (0.299, 0.587, 0.114)
    assert (np.diff(luma) > 0).all()


@pytest.mark.parametrize(
    ("film", "size"),
    [((600, 400), (600, 400)), ((4096, 2048), (1024, 512)), ((2000, 8000), (256, 1024)), ((32, 320), (32, 320))],
)
def test_the_overlay_has_the_shape_of_the_film(film: tuple[int, int], size: tuple[int, int]) -> None:
    """The overlay keeps the film's ratio, is never larger than the film or the limit."""
    height_px, width_px, _ = opened(heatmap_png(flat(0.3), *film), "RGBA").shape
    assert (width_px, height_px) == size
    assert max(size) <= MAX_OVERLAY_SIDE_PX


def test_the_peak_stays_in_its_place() -> None:
    """The most opaque spot is where the map's largest value is, and overshoot does not wrap around."""
    saliency = np.zeros((7, 7), np.float32)
    saliency[1, 5] = 1.0
    alpha = opened(heatmap_png(saliency, 700, 700), "RGBA")[..., 3]
    top, left = np.unravel_index(alpha.argmax(), alpha.shape)
    assert 100 <= top < 200
    assert 500 <= left < 600
    assert alpha[600:].max() == 0


def test_drawing_changes_no_number() -> None:
    """The map that was drawn is the map that was given, bit for bit; the same map gives the same bytes."""
    saliency = np.linspace(0, 1, 49, dtype=np.float32).reshape(7, 7)
    before = saliency.copy()
    saliency.setflags(write=False)
    assert heatmap_png(saliency, 90, 90) == heatmap_png(saliency, 90, 90)
    np.testing.assert_array_equal(saliency, before)


@pytest.mark.parametrize("saliency", [np.zeros((0, 5)), np.zeros(5), np.zeros((5, 5, 3)), np.full((5, 5), np.nan)])
def test_a_map_that_is_no_map_is_not_drawn(saliency: npt.NDArray[np.float32]) -> None:
    """An empty, flat, coloured or undefined array is refused rather than shown."""
    with pytest.raises(WrongShape):
        heatmap_png(saliency, 60, 40)


def test_an_8_bit_film_is_shown_as_it_is() -> None:
    """The picture of an 8-bit film has the film's own values."""
    pixels = make_pixels()
    np.testing.assert_array_equal(opened(film_png(pixels, None), "L"), pixels)


def test_a_16_bit_film_is_windowed() -> None:
    """A 16-bit film that uses a twentieth of its range is shown in the full range, in the same order."""
    pixels = (make_pixels(dtype=np.uint16) // 20 + 7000).astype(np.uint16)
    shown = opened(film_png(pixels, None), "L")
    assert (shown.min(), shown.max()) == (0, 255)
    order = np.argsort(pixels, axis=None)
    assert (np.diff(shown.ravel()[order].astype(int)) >= 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (33, 47), (64, 64), (65, 300), (200, 1031)])
@pytest.mark.parametrize("top", [1, 2, 300, 4096, 65536])
@pytest.mark.parametrize("seed", range(3))
def test_a_16_bit_film_is_windowed_to_the_last_level_as_any_other(shape: tuple[int, int], top: int, seed: int) -> None:
    """The histogram in strips is a shorter way to the picture that `window` gives."""
    pixels = np.random.default_rng(seed).integers(0, top, shape, np.uint16) + np.uint16(65536 - top)
    expected = np.rint(window(pixels.astype(np.float32)) * 255)
    np.testing.assert_array_equal(opened(film_png(pixels), "L"), expected)


@pytest.mark.parametrize("seed", range(3))
def test_so_is_one_with_borders_and_burnt_in_marks(seed: int) -> None:
    """With both ends of the range in it, and 12 of 16 bits used."""
    pixels = make_pixels(seed=seed, height_px=301, width_px=407, dtype=np.uint16) // 16
    pixels[:20], pixels[-5:, :30] = 0, 65535
    expected = np.rint(window(pixels.astype(np.float32)) * 255)
    np.testing.assert_array_equal(opened(film_png(pixels), "L"), expected)


def test_a_thumbnail_of_a_16_bit_film_takes_little_memory() -> None:
    """Less than the film itself beside it: its 8-bit picture and some strips."""
    pixels = make_pixels(height_px=1500, width_px=2000, dtype=np.uint16)
    film_png(make_pixels(dtype=np.uint16), 96)
    tracemalloc.start()
    film_png(pixels, 96)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < pixels.nbytes


def test_a_flat_16_bit_film_is_black() -> None:
    """A film of one value has no window; it is shown black, not as an error."""
    assert not opened(film_png(np.full((40, 40), 900, np.uint16), None), "L").any()


@pytest.mark.parametrize(("max_side_px", "size"), [(32, (24, 32)), (64, (48, 64)), (500, (48, 64))])
def test_a_film_is_scaled_down_only(max_side_px: int, size: tuple[int, int]) -> None:
    """The longer side is at most what was asked; a smaller film keeps its size."""
    assert opened(film_png(make_pixels(), max_side_px), "L").shape == size


def test_pictures_carry_no_metadata() -> None:
    """A PNG of ours has the chunks that make pixels and no others."""
    for data in (film_png(make_pixels(), None), heatmap_png(flat(0.5), 60, 40)):
        at, kinds = 8, set()
        while at < len(data):
            kinds.add(data[at + 4 : at + 8])
            at += 12 + int.from_bytes(data[at : at + 4])
        assert kinds <= {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}


def test_a_map_of_pixels_is_stretched_to_its_99th_percentile() -> None:
    """100 values 0.00 to 0.99: the 99th percentile is 0.9801, what is above it becomes 1, the rest keeps its order."""
    values = (np.arange(100, dtype=np.float32) / 100).reshape(10, 10)
    before = values.copy()
    stretched = stretch(values)
    assert stretched.dtype == np.float32
    np.testing.assert_allclose(stretched.ravel()[[0, 50, 98, 99]], [0, 0.5 / 0.9801, 0.98 / 0.9801, 1], rtol=1e-6)
    np.testing.assert_array_equal(values, before)


def test_a_map_of_a_few_pixels_is_left_as_it_is() -> None:
    """Where the percentile is zero there is nothing to divide by."""
    values = np.zeros((20, 20), np.float32)
    values[3, 4] = 1
    np.testing.assert_array_equal(stretch(values), values)
