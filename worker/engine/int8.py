"""int8 quantisation: per convolution, how to round the float weights. Verified by SHA-256, like the weights.

For each row `int8.npz` holds the scale of each filter, one bit for each weight (rounded up or down to a multiple of the
scale), the bias that corrects the mean for rounding errors, and the range of the row's input. `training/quantize.py`
writes it; engines that compute in integers read it (DECISIONS 52). No TensorFlow.
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
"""That a value of eight bits may have."""

LARGEST: Final = 127
"""Of a weight in its steps, either way."""

PARTS: Final = ("up", "scale", "bias", "range")
FLAGS: Final = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
"""Of processors that multiply eight-bit integers without losing a carry on the way, as Linux names them."""

Integers = npt.NDArray[np.int8]
Stored = Mapping[str, npt.NDArray[Any]]  # Any: bits and floats


@dataclass(frozen=True, slots=True)
class Int8Row:
    """One convolution in eight bits.

    Attributes:
        kernel: (k, k, in, out), or (k, k, C, 1) of a depthwise row, int8 in [-127, 127].
        scale: (filters,) float32; a weight is its integer times its filter's scale.
        bias: (filters,) float32.
        low, high: what of the row's input is told apart, in 256 steps; low is 0 or -128/127 of high.
    """

    kernel: Integers
    scale: FloatArray
    bias: FloatArray
    low: float
    high: float


def computes_int8(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor has instructions for it; False where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return bool(FLAGS & set(flags.split()))


def convolutions(architecture: Architecture) -> list[Conv | Depthwise]:
    """The rows of a folded table that may be computed in eight bits."""
    return [layer for layer in architecture.layers if isinstance(layer, (Conv, Depthwise)) and layer.has_bias]


def below(kernel: FloatArray, scale: FloatArray, *, is_depthwise: bool) -> npt.NDArray[np.float32]:
    """The multiple of its filter's scale at or below each weight, so that the next one is still at most 127."""
    steps = kernel / along(scale, is_depthwise=is_depthwise)
    return np.clip(np.floor(steps), -LARGEST, LARGEST - 1)


def along(values: FloatArray, *, is_depthwise: bool) -> FloatArray:
    """One number a filter, in the shape that goes with a kernel (k, k, in, out) or (k, k, C, 1)."""
    return values[:, np.newaxis] if is_depthwise else values


def to_stored(kernel_up: npt.NDArray[np.bool_], row: Int8Row) -> dict[str, npt.NDArray[Any]]:  # Any: bits and floats
    """A row as it is stored, by the part's name."""
    limits = np.array([row.low, row.high], np.float32)
    return {"up": np.packbits(kernel_up), "scale": row.scale, "bias": row.bias, "range": limits}


def from_stored(architecture: Architecture, weights: Mapping[str, FloatArray], stored: Stored) -> dict[str, Int8Row]:
    """The rows by name.

    Raises:
        ManifestMismatch: a name is no part of a convolution of the table, or a row has not all of its parts.
        WrongShape: a part is not of its shape and type, or holds what is no finite number.
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
