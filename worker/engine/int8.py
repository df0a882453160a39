"""Convolutions in eight bits: `int8.npz`, stored beside the float weights, says how these are rounded.

For each row it holds the scale of each filter, the direction in which each weight is rounded to a multiple of it, a
bias that corrects the mean for the rounding, and the range of the row's input. `training/quantize.py` writes it;
engines that compute in integers read it (DECISIONS 52). No TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared.arrays import FloatArray
from shared.errors import ManifestMismatch, WrongShape
from worker.engine.architecture import Architecture, array_shapes
from worker.engine.layers import Conv, Depthwise

INT8_FILE: Final = "int8.npz"
STEPS: Final = 256
"""Values of an eight-bit number."""

LARGEST: Final = 127
"""Largest magnitude of a weight in units of its filter's scale."""

PARTS: Final = ("up", "scale", "bias", "range")
FLAGS: Final = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
"""Linux's flags of processors that multiply eight-bit integers without overflow in an intermediate sum."""

Integers = npt.NDArray[np.int8]
Stored = Mapping[str, npt.NDArray[Any]]  # Any: bits and floats


@dataclass(frozen=True, slots=True)
class Int8Row:
    """One convolution in eight bits.

    Attributes:
        kernel: (k, k, in, out), or (k, k, C, 1) of a depthwise row, int8 in [-127, 127].
        scale: (filters,) float32; a weight is its integer times its filter's scale.
        bias: (filters,) float32.
        low, high: the range of the row's input that is quantized in 256 steps; low is 0 or -128/127 of high.
    """

    kernel: Integers
    scale: FloatArray
    bias: FloatArray
    low: float
    high: float


def computes_int8(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether this processor has instructions for int8; False where the system does not say."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return bool(FLAGS & set(flags.split()))


def convolutions(architecture: Architecture) -> list[Conv | Depthwise]:
    """Return the rows of a folded table that may be computed in eight bits."""
    return [layer for layer in architecture.layers if isinstance(layer, (Conv, Depthwise)) and layer.has_bias]


def below(kernel: FloatArray, scale: FloatArray, *, is_depthwise: bool) -> npt.NDArray[np.float32]:
    """Return the multiple of its filter's scale at or below each weight, at most 126, so that the next one fits too."""
    steps = kernel / along(scale, is_depthwise=is_depthwise)
    return np.clip(np.floor(steps), -LARGEST, LARGEST - 1)


def along(values: FloatArray, *, is_depthwise: bool) -> FloatArray:
    """Return one number a filter in a shape that broadcasts with a kernel (k, k, in, out) or (k, k, C, 1)."""
    return values[:, np.newaxis] if is_depthwise else values


def to_stored(kernel_up: npt.NDArray[np.bool_], row: Int8Row) -> dict[str, npt.NDArray[Any]]:  # Any: bits and floats
    """Return a row as it is stored, by the part's name."""
    limits = np.array([row.low, row.high], np.float32)
    return {"up": np.packbits(kernel_up), "scale": row.scale, "bias": row.bias, "range": limits}


def from_stored(architecture: Architecture, weights: Mapping[str, FloatArray], stored: Stored) -> dict[str, Int8Row]:
    """Return the rows by name.

    Raises:
        ManifestMismatch: a name is no part of a convolution of the table, or a row lacks a part.
        WrongShape: a part has another shape or type, or values that are not finite.
    """
    rows = {layer.name: layer for layer in convolutions(architecture)}
    shapes = array_shapes(architecture)
    names = sorted({name.rpartition(".")[0] for name in stored})
    if set(stored) != {f"{name}.{part}" for name in names for part in PARTS} or not set(names) <= set(rows):
        raise ManifestMismatch(f"The arrays of {INT8_FILE} are not those of rows of '{architecture.name}'.")
    return {name: _row(rows[name], weights[f"{name}.kernel"], shapes[f"{name}.bias"], stored) for name in names}


def _row(layer: Conv | Depthwise, kernel: FloatArray, filters: tuple[int, ...], stored: Stored) -> Int8Row:
    up, scale, bias, limits = (stored[f"{layer.name}.{part}"] for part in PARTS)
    if up.dtype != np.uint8 or up.shape != (-(-kernel.size // 8),):
        raise WrongShape(f"'{layer.name}.up' of {INT8_FILE} is not one bit for each weight.")
    _check_floats(layer.name, ((scale, filters), (bias, filters), (limits, (2,))))
    if not (scale > 0).all() or not limits[0] <= 0 < limits[1]:
        raise WrongShape(f"'{layer.name}' of {INT8_FILE} has steps of no width.")
    rounded_up = np.unpackbits(up, count=kernel.size).reshape(kernel.shape)
    integers = below(kernel, scale, is_depthwise=isinstance(layer, Depthwise)) + rounded_up
    return Int8Row(integers.astype(np.int8), scale, bias, float(limits[0]), float(limits[1]))


def _check_floats(name: str, parts: Iterable[tuple[npt.NDArray[Any], tuple[int, ...]]]) -> None:  # Any: checked here
    for array, shape in parts:
        if array.dtype != np.float32 or array.shape != shape or not np.isfinite(array).all():
            raise WrongShape(f"'{name}' of {INT8_FILE} is not of finite float32 in the shape {shape}.")
