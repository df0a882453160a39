"""The arithmetic of rounding a convolution to eight bits, from its input on films. Reads no file, runs no network.

First, the range of the input with the least quantization error is chosen. Then the weights are rounded one after the
other, each to one of its two neighbours on the grid, and those not yet rounded compensate the error on the films (GPTQ,
Frantar et al. 2022, arXiv 2210.17323, after Hassibi & Stork 1993). Last, a bias gives each channel the mean that it has
in float32 (Nagel et al. 2019, arXiv 1906.04721). `quantize.py` applies this row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.arrays import FloatArray
from worker.engine.int8 import LARGEST, STEPS, Int8Row, below
from worker.engine.layers import Conv, Depthwise

CLIPS: Final = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Candidates for the upper end of a row's input range, as shares of its largest value."""

SAMPLED_VALUES: Final = 20_000
"""Values of each film, about, that the range is chosen by."""

DAMPING: Final = 0.01
"""Share of the mean of a Hessian's diagonal that is added to the diagonal, as the authors of GPTQ do."""

LEAST_SCALE: Final = np.float32(1e-8)
"""Scale of a filter whose weights are all zero."""

Doubles = npt.NDArray[np.float64]
Bits = npt.NDArray[np.bool_]
Kernel = npt.NDArray[np.floating]
Convolution = Conv | Depthwise


@dataclass(frozen=True, slots=True)
class InputStatistics:
    """Statistics of a row's input over all films, as the rounded rows before it make it.

    Attributes:
        low, high: the range that is quantized in 256 steps.
        products: (groups, n, n), sums over all positions of the products of the n input values of a filter.
        means: (groups, n), means of these values.
    """

    low: float
    high: float
    products: Doubles
    means: Doubles


def measure_inputs(layer: Convolution, films: Sequence[FloatArray]) -> InputStatistics:
    """Return the statistics of a row's input on films, each (C, h, w) float32."""
    low, high = choose_range(films)
    step = (high - low) / (STEPS - 1)
    products: Doubles | float = 0.0
    means: Doubles | float = 0.0
    for film in films:
        stepped = (np.clip(np.round((film - low) / step), 0, STEPS - 1) * step + low).astype(np.float32)
        columns = patches(layer, stepped)
        products = products + (columns @ columns.transpose(0, 2, 1)).astype(np.float64)
        means = means + columns.mean(axis=2, dtype=np.float64)
    return InputStatistics(low, high, np.asarray(products), np.asarray(means) / len(films))


def choose_range(films: Sequence[FloatArray]) -> tuple[float, float]:
    """Return low and high of the 256 steps with the least mean squared error; low is 0 where no value is negative."""
    largest = float(np.float32(max(np.abs(film).max() for film in films))) or 1.0
    has_sign = any(film.min() < 0 for film in films)
    values = np.concatenate([film.ravel()[:: max(1, film.size // SAMPLED_VALUES)] for film in films])

    def squared_error(high: float) -> float:
        low, step = _low_and_step(high, has_sign=has_sign)
        stepped = np.clip(np.round((values - low) / step), 0, STEPS - 1) * step + low
        return float(np.square(stepped - values).mean())

    high = min((largest * share for share in CLIPS), key=squared_error)
    return _low_and_step(high, has_sign=has_sign)[0], high


def _low_and_step(high: float, *, has_sign: bool) -> tuple[float, float]:
    low = -high * (LARGEST + 1) / LARGEST if has_sign else 0.0
    return low, (high - low) / (STEPS - 1)


def patches(layer: Convolution, film: FloatArray) -> FloatArray:
    """Return the input value of each weight of a filter at each position (im2col): (groups, n, positions).

    The film (C, h, w) is padded as the row pads it. A depthwise row has one group a channel, with n = k * k weights;
    another row has one group, with n = C * k * k.
    """
    k, stride = layer.kernel, layer.stride
    padding = "same" if isinstance(layer, Depthwise) else layer.padding
    sides = [_pad(side, k, stride) if padding == "same" else (0, 0) for side in film.shape[1:]]
    padded = np.pad(film, [(0, 0), *sides])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), (1, 2))[:, ::stride, ::stride]
    groups = len(film) if isinstance(layer, Depthwise) else 1
    return np.ascontiguousarray(windows.transpose(0, 3, 4, 1, 2)).reshape(groups, len(film) // groups * k * k, -1)


def _pad(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the padding before and after a side for TensorFlow's 'same', which puts the odd pixel last."""
    whole = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return whole // 2, whole - whole // 2


def round_row(
    layer: Convolution, kernel: FloatArray, statistics: InputStatistics, target_means: Doubles
) -> tuple[Bits, Int8Row]:
    """Return which weights are rounded up, in the kernel's shape, and the quantized row.

    Args:
        kernel: (k, k, in, out), or (k, k, C, 1) of a depthwise row, float32.
        target_means: (filters,), the mean that each channel of the output has in float32.
    """
    flat = _as_matrix(layer, kernel)
    scale = np.maximum(np.abs(flat).max(axis=2).reshape(-1), LEAST_SCALE) / np.float32(LARGEST)
    lower = below(kernel, scale, is_depthwise=isinstance(layer, Depthwise))
    per_filter = scale.reshape(*flat.shape[:2], 1).astype(np.float64)
    up = round_weights(flat / per_filter, _as_matrix(layer, lower), statistics.products)
    means = ((_as_matrix(layer, lower) + up) * per_filter @ statistics.means[..., np.newaxis]).reshape(-1)
    bias = (target_means - means).astype(np.float32)
    raised = _from_matrix(layer, up, kernel.shape)
    integers = (lower + raised).astype(np.int8)
    return raised, Int8Row(integers, scale, bias, statistics.low, statistics.high)


def round_weights(steps: Kernel, lower: Kernel, products: Doubles) -> Bits:
    """Return which weights are rounded up, (groups, filters, n), with the least output error on inputs like these.

    Args:
        steps: weights in units of their filter's scale.
        lower: the integers below them.
        products: (groups, n, n), see `InputStatistics`.
    """
    n = steps.shape[2]
    damped = products + np.eye(n) * (DAMPING * np.einsum("gii->g", products) / n + 1e-9)[:, np.newaxis, np.newaxis]
    order = np.argsort(-np.einsum("gii->gi", damped), axis=1)
    damped = np.take_along_axis(np.take_along_axis(damped, order[:, :, np.newaxis], 1), order[:, np.newaxis], 2)
    shares = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    left = np.take_along_axis(np.asarray(steps, np.float64), order[:, np.newaxis], 2)
    floors = np.take_along_axis(np.asarray(lower, np.float64), order[:, np.newaxis], 2)
    up = np.zeros(left.shape, bool)
    for place in range(n):
        up[..., place] = left[..., place] - floors[..., place] >= 0.5  # noqa: PLR2004 - half a step
        error = left[..., place] - floors[..., place] - up[..., place]
        left[..., place + 1 :] -= (error / shares[:, np.newaxis, place, place])[..., np.newaxis] * (
            shares[:, np.newaxis, place, place + 1 :]
        )
    return np.take_along_axis(up, np.argsort(order, axis=1)[:, np.newaxis], 2)


def _as_matrix(layer: Convolution, kernel: Kernel) -> Kernel:
    """Return the kernel as (groups, filters a group, n), in the order of `patches`."""
    if isinstance(layer, Depthwise):
        return kernel.transpose(2, 3, 0, 1).reshape(kernel.shape[2], 1, -1)
    return kernel.transpose(3, 2, 0, 1).reshape(1, kernel.shape[3], -1)


def _from_matrix(layer: Convolution, matrix: Bits, shape: tuple[int, ...]) -> Bits:
    high, wide, inputs, outputs = shape
    if isinstance(layer, Depthwise):
        return np.ascontiguousarray(matrix.reshape(inputs, outputs, high, wide).transpose(2, 3, 0, 1))
    return np.ascontiguousarray(matrix.reshape(outputs, inputs, high, wide).transpose(2, 3, 1, 0))
