"""The input gate: is this a frontal chest film at all, and one like those of training? numpy on a few features.

Features are the means over a 2 x 2 grid of an early row of the network, which the manifest names. A linear score,
trained against pictures that are no frontal chest films, detects such pictures. The part of the features outside a
subspace of the training films detects pictures unlike both (as Lee et al. 2018, arXiv 1807.03888, use class-conditional
distances). The arrays are stored in the model's weights under `gate.`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from shared.arrays import FloatArray
from shared.errors import WrongShape

PREFIX: Final = "gate."
GRID: Final = 2
"""Cells in each direction over which features are averaged."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Arrays of the gate for D features, float32.

    Attributes:
        mean, scale: (D,) of training films; features are standardised by them.
        weights: (D,) of the linear score; bias: (1,).
        subspace: (k, D) orthonormal rows, the principal directions of the standardised training features.
    """

    mean: FloatArray
    scale: FloatArray
    weights: FloatArray
    bias: FloatArray
    subspace: FloatArray

    def distances(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return, of features (N, D), log-odds of no frontal chest film (N,) and mean square outside the subspace (N,).

        It is computed film by film: a matrix product rounds differently for one row and for twelve, and an answer must
        not depend on the other films of its batch.
        """
        pairs = np.array([self._distances(row) for row in features], np.float32).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def _distances(self, features: FloatArray) -> tuple[np.float32, np.float32]:
        standard = (features - self.mean) / self.scale
        outside = standard - (standard @ self.subspace.T) @ self.subspace
        return standard @ self.weights + self.bias[0], (outside * outside).mean(dtype=np.float32)


def pool(rows: FloatArray) -> FloatArray:
    """Return the means over the 2 x 2 grid of a row's output: (N, h, w, C) with even h and w to (N, 4 * C)."""
    count, height, width, channels = rows.shape
    cells = rows.reshape(count, GRID, height // GRID, GRID, width // GRID, channels)
    pooled: FloatArray = cells.mean(axis=(2, 4), dtype=np.float32).reshape(count, -1)
    return pooled


def to_arrays(gate: Gate) -> dict[str, FloatArray]:
    """Return the gate's arrays under their names in the weights file."""
    return {f"{PREFIX}{field.name}": getattr(gate, field.name) for field in fields(Gate)}


def from_arrays(arrays: Mapping[str, FloatArray], features: int) -> Gate | None:
    """Return the gate in a model's arrays, for D = `features`; None where they hold none.

    Raises:
        WrongShape: only some of the gate's arrays are there, or one has another shape or type.
    """
    names = [field.name for field in fields(Gate)]
    present = {name: arrays[PREFIX + name] for name in names if PREFIX + name in arrays}
    extra = {name for name in arrays if name.startswith(PREFIX)} - {PREFIX + name for name in names}
    if not present and not extra:
        return None
    if extra or len(present) < len(names):
        raise WrongShape("The weights hold parts of an input gate only, or parts that this build does not know.")
    _check(present, features)
    return Gate(**present)


def _check(arrays: Mapping[str, FloatArray], features: int) -> None:
    expected: dict[str, tuple[int, ...]] = dict.fromkeys(("mean", "scale", "weights"), (features,))
    expected |= {"bias": (1,), "subspace": (arrays["subspace"].shape[0], features)}
    for name, shape in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
            message = f"'{PREFIX}{name}' is {array.dtype} {array.shape}, promised was finite float32 {shape}."
            raise WrongShape(message)
    if not (arrays["scale"] > 0).all():
        raise WrongShape(f"'{PREFIX}scale' holds values that are not above 0.")
