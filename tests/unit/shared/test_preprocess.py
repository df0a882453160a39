"""The one preprocessing: shape, type and range for any film; exposure and bit depth hardly matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from shared.errors import ManifestMismatch
from shared.imaging import preprocess
from tests.factories import make_pixels

SHAPE = (16, 16, 1)
NAMES = sorted(preprocess.PREPROCESSINGS)

films = st.sampled_from([np.uint8, np.uint16]).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=70))
)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60)
@given(pixels=films)
def test_any_film_becomes_an_input(name: str, pixels: np.ndarray) -> None:
    """Whatever size and type: the promised shape, float32, finite, within [0, 1]."""
    x = preprocess.preprocess(pixels, name, SHAPE)
    assert x.shape == SHAPE
    assert x.dtype == np.float32
    assert np.isfinite(x).all()
    assert x.min() >= 0.0
    assert x.max() <= 1.0


@pytest.mark.parametrize("name", NAMES)
def test_the_same_film_gives_the_same_input(name: str) -> None:
    """Bit by bit, and the film itself is left as it was."""
    pixels = make_pixels()
    before = pixels.copy()
    first, second = (preprocess.preprocess(pixels, name, SHAPE) for _ in range(2))
    assert (first == second).all()
    assert (pixels == before).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(5))
def test_the_bit_depth_hardly_matters(name: str, seed: int) -> None:
    """A film in 8 bits and the same in 16 (times 257) differ by less than two grey levels of 255."""
    narrow = make_pixels(seed=seed, height_px=90, width_px=120)
    wide = narrow.astype(np.uint16) * 257
    difference = preprocess.preprocess(narrow, name, SHAPE) - preprocess.preprocess(wide, name, SHAPE)
    assert np.abs(difference).max() < 2 / 255


@settings(max_examples=40)
@given(factor=st.floats(0.8, 1.2), seed=st.integers(0, 50))
def test_exposure_hardly_changes_the_windowed_input(factor: float, seed: int) -> None:
    """The film at 0.8 to 1.2 times its brightness, nothing clipped, is the same input within 2 %."""
    pixels = make_pixels(seed=seed, dtype=np.uint16) // 2 + 5000
    scaled = np.rint(pixels * factor).astype(np.uint16)
    assert scaled.max() < np.iinfo(np.uint16).max
    windowed = preprocess.preprocess(pixels, "grey_window_v1", SHAPE)
    assert np.abs(windowed - preprocess.preprocess(scaled, "grey_window_v1", SHAPE)).max() < 0.02
    plain = preprocess.preprocess(pixels, "grey_scale_v1", SHAPE)
    if abs(factor - 1) > 0.1:
        assert np.abs(plain - preprocess.preprocess(scaled, "grey_scale_v1", SHAPE)).max() > 0.02


@settings(max_examples=300)
@given(pixels=arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)))
def test_an_8_bit_picture_is_windowed_to_the_last_bit_as_any_other(pixels: np.ndarray) -> None:
    """The histogram is a shorter way, not another preprocessing."""
    assert_same_window(pixels)


@pytest.mark.parametrize("seed", range(5))
def test_so_is_a_film(seed: int) -> None:
    """With percentiles between two grey levels, at the network's size and at another."""
    for side in (224, 200):
        assert_same_window(make_pixels(seed=seed, height_px=side, width_px=224))


def assert_same_window(pixels: np.ndarray) -> None:
    """By numpy's percentiles of the values, and by the histogram."""
    found = preprocess.window_8_bits(Image.fromarray(pixels))
    assert found.dtype == np.float32
    assert np.array_equal(found, preprocess.window(pixels.astype(np.float32)))


@pytest.mark.parametrize("name", ["grey_window_v1", "grey_soft_v1"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_a_constant_film_becomes_zeros(name: str, dtype: type, value: int) -> None:
    """No range to stretch, no division by zero."""
    x = preprocess.preprocess(np.full((50, 40), value, dtype), name, (224, 224, 1))
    assert not x.any()


def test_soft_input_holds_no_finer_detail_than_its_name_says() -> None:
    """Of a pattern of 2 pixels a period less than a tenth is left, of one of 8 pixels more than nine tenths."""
    columns = np.arange(224)
    spreads = []
    for period in (2, 8):
        row = 128 + 60 * np.cos(2 * np.pi * columns / period)
        fine = np.repeat(row[np.newaxis], 224, axis=0)
        fine[:20] = np.linspace(0, 255, 224)
        x = preprocess.preprocess(np.rint(fine).astype(np.uint8), "grey_soft_v1", (224, 224, 1))
        spreads.append(float(x[40:].std()) / (60 / 255 / np.sqrt(2)))
    assert spreads[0] < 0.1
    assert spreads[1] > 0.9


def test_a_ramp_is_windowed_by_hand() -> None:
    """Of 0..200 the 0.5th and 99.5th percentiles are 1 and 199: 100 lies in the middle, the ends are clipped."""
    ramp = np.arange(201, dtype=np.float32).reshape(3, 67)
    x = preprocess.window(ramp).ravel()
    assert x[100] == pytest.approx(0.5)
    assert x[50] == pytest.approx(49 / 198)
    assert x[[0, 1]].tolist() == [0.0, 0.0]
    assert x[[199, 200]].tolist() == [1.0, 1.0]


def test_the_plain_scale_divides_by_the_largest_value() -> None:
    """1/255 of 8 bits, 1/65535 of 16."""
    narrow = np.array([[0, 51], [102, 255]], np.uint8)
    wide = np.array([[0, 13107], [26214, 65535]], np.uint16)
    for pixels in (narrow, wide):
        x = preprocess.preprocess(pixels, "grey_scale_v1", (2, 2, 1))
        assert x.ravel().tolist() == pytest.approx([0.0, 0.2, 0.4, 1.0], abs=1e-6)


def test_an_unknown_name_is_refused() -> None:
    """A manifest of another build does not run on a guess."""
    with pytest.raises(ManifestMismatch, match="grey_window_v9"):
        preprocess.preprocess(make_pixels(), "grey_window_v9", SHAPE)


def test_inputs_stack_to_a_batch() -> None:
    """(N, H, W, C) float32, in order."""
    inputs = [np.full(SHAPE, n / 4, np.float32) for n in range(3)]
    batch = preprocess.stack(inputs)
    assert batch.shape == (3, *SHAPE)
    assert batch.dtype == np.float32
    assert batch[:, 0, 0, 0].tolist() == [0.0, 0.25, 0.5]
