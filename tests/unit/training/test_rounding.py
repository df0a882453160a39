"""Rounding to eight bits, by arithmetic: what weights meet, which way they go, what a channel's mean is afterwards."""

from __future__ import annotations

import numpy as np
import openvino
import pytest

from shared.arrays import FloatArray
from tests.models import make_arrays
from training.export import fold
from training.rounding import Bits, choose_range, measure_inputs, patches, round_row, round_weights
from worker.engine.architecture import Architecture, folded
from worker.engine.int8 import LARGEST, Int8Row, along, below
from worker.engine.layers import BatchNorm, Conv, Dense, Depthwise, GlobalPool, Rescale
from worker.engine.openvino_network import compile_network, connect

LAYERS = (
    Conv("row", 5, 3, stride=2, padding="same"),
    Conv("row", 5, 3, stride=1, padding="valid"),
    Conv("row", 4, 1),
    Depthwise("row", 5, stride=2),
    Depthwise("row", 3, stride=1),
)


def one_row(layer: Conv | Depthwise) -> Architecture:
    """A folded network of one convolution on (19, 16) with 3 channels."""
    rows = (Rescale("entry", 1.0, 0.0), layer, BatchNorm("row_bn"), GlobalPool("mean"), Dense("logits", 3))
    return folded(Architecture("one", (19, 16, 3), "row_bn", rows))


def arrays_of(layer: Conv | Depthwise) -> dict[str, FloatArray]:
    """Random folded arrays of that network."""
    table = Architecture("one", (19, 16, 3), "row_bn", (
        Rescale("entry", 1.0, 0.0), layer, BatchNorm("row_bn"), GlobalPool("mean"), Dense("logits", 3),
    ))  # fmt: skip
    return fold(table, make_arrays(table, 3))


def run(
    layer: Conv | Depthwise, arrays: dict[str, FloatArray], film: FloatArray, steps: dict[str, Int8Row]
) -> FloatArray:
    """The row's output (C, h, w) as OpenVINO computes it."""
    entry, nodes = connect(one_row(layer), arrays, steps)
    network = compile_network(openvino.Model([nodes["row"]], [entry], "row"), 1)
    return network([film[np.newaxis]])[0][0].copy()


def draw_films(count: int, *, has_sign: bool = True) -> list[FloatArray]:
    """Smooth random films (3, 19, 16): neighbours are alike, as in real ones."""
    rng = np.random.default_rng(4)
    rough = rng.normal(0.3, 1, (count, 3, 19, 16)).cumsum(2).cumsum(3) / 9
    return list((rough if has_sign else np.abs(rough)).astype(np.float32))


@pytest.mark.parametrize("layer", LAYERS)
def test_patches_are_what_each_weight_meets(layer: Conv | Depthwise) -> None:
    """Times the kernel they are the convolution that OpenVINO computes, padding and strides included."""
    arrays, film = arrays_of(layer), draw_films(1)[0]
    kernel = arrays["row.kernel"]
    met = patches(layer, film)
    flat = (
        kernel.transpose(2, 3, 0, 1).reshape(3, 1, -1)
        if isinstance(layer, Depthwise)
        else kernel.transpose(3, 2, 0, 1).reshape(1, layer.filters, -1)
    )
    ours = (flat @ met).reshape(flat.shape[0] * flat.shape[1], -1) + arrays["row.bias"][:, np.newaxis]
    theirs = run(layer, arrays, film, {})
    np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, atol=1e-4)


def test_without_correlation_each_weight_goes_to_the_nearer_integer() -> None:
    """Where inputs have nothing to do with each other there is no error to take over."""
    steps = np.array([[[0.2, 0.7, -0.4, -0.6, 3.49, 3.51]]])
    up = round_weights(steps, np.floor(steps), np.eye(6)[np.newaxis])
    assert (np.floor(steps) + up).tolist() == [[[0, 1, 0, -1, 3, 4]]]


def test_weights_that_meet_the_same_share_their_error() -> None:
    """Four weights of .4 on equal inputs: two go up and two down, since only their sum shows."""
    steps = np.full((1, 1, 4), 0.4)
    up = round_weights(steps, np.floor(steps), np.ones((1, 4, 4)))
    assert up.sum() == 2


def error(steps: np.ndarray, rounded: np.ndarray, products: np.ndarray) -> float:
    """What the films would show of it."""
    apart = rounded - steps
    return float(np.einsum("gfi,gij,gfj->", apart, products, apart))


def test_films_show_less_of_it_than_of_the_nearest_integers() -> None:
    """On inputs that are alike: a third at most."""
    rng = np.random.default_rng(2)
    met = rng.normal(0, 1, (2, 12, 400)) + 2 * rng.normal(0, 1, (2, 1, 400))
    products = met @ met.transpose(0, 2, 1)
    steps = rng.normal(0, 40, (2, 6, 12))
    up = round_weights(steps, np.floor(steps), products)
    assert error(steps, np.floor(steps) + up, products) < error(steps, np.round(steps), products) / 3


def test_the_range_cuts_off_what_is_rare() -> None:
    """One value beyond all others is not worth coarser steps for them; without any below 0 the range begins there."""
    films = list(np.random.default_rng(3).random((8, 1, 140, 140), np.float32))
    assert choose_range(films) == (0.0, pytest.approx(1.0, abs=1e-4))
    films[0][0, 0, 0] = 1.2
    assert choose_range(films)[1] == pytest.approx(0.9 * 1.2)
    low, high = choose_range(draw_films(3))
    assert low == pytest.approx(-high * 128 / 127)


def rounded(layer: Conv | Depthwise) -> tuple[dict[str, FloatArray], list[FloatArray], Bits, Int8Row]:
    """A row of random weights, rounded by four films."""
    arrays, films = arrays_of(layer), draw_films(4)
    wanted = np.mean([run(layer, arrays, film, {}).mean(axis=(1, 2), dtype=np.float64) for film in films], axis=0)
    up, row = round_row(layer, arrays["row.kernel"], measure_inputs(layer, films), wanted)
    return arrays, films, up, row


@pytest.mark.parametrize("layer", LAYERS)
def test_a_rounded_row_is_nearly_what_it_was_and_each_channels_mean_just_that(layer: Conv | Depthwise) -> None:
    """As OpenVINO computes it in steps: the means of all films together, whatever single places lose."""
    arrays, films, up, row = rounded(layer)
    exact = np.stack([run(layer, arrays, film, {}) for film in films])
    found = np.stack([run(layer, arrays, film, {"row": row}) for film in films])
    assert np.abs(found - exact).mean() < 0.02 * exact.std()
    np.testing.assert_allclose(found.mean(axis=(0, 2, 3)), exact.mean(axis=(0, 2, 3)), atol=1e-3 * exact.std())
    assert np.abs(row.kernel).max() <= LARGEST
    is_depthwise = isinstance(layer, Depthwise)
    lower = below(arrays["row.kernel"], row.scale, is_depthwise=is_depthwise)
    np.testing.assert_array_equal(row.kernel, lower + up)
    apart = arrays["row.kernel"] / along(row.scale, is_depthwise=is_depthwise) - row.kernel
    assert np.abs(apart).max() <= 1 + 1e-4
