"""The input gate: is this a frontal chest film at all, and one like those of training? numpy on a few features.

Features are the means over a 2 x 2 grid of an early row of the network, which the manifest names. A linear score,
learned against pictures that are no frontal chest films, tells those apart; the part of the features that a subspace
of the training films cannot express tells what neither side has seen (as Lee et al. 2018, arXiv 1807.03888, use
class-conditional distances). The arrays lie in the model's weights under `gate.`.
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
        subspace: (k, D) orthonormal rows, the main directions of standardised training features.
    """

    mean: FloatArray
    scale: FloatArray
    weights: FloatArray
    bias: FloatArray
    subspace: FloatArray

    def distances(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Of (N, D) features: log-odds of no frontal chest film (N,); mean square outside the subspace (N,).

        Film by film: a product of matrices rounds otherwise for one row than for twelve, and an answer must not depend
        on the films that it was computed with.
        """
        found = np.array([self._distances(row) for row in features], np.float32).reshape(-1, 2)
        return found[:, 0], found[:, 1]

    def _distances(self, features: FloatArray) -> tuple[np.float32, np.float32]:
        standard = (features - self.mean) / self.scale
        outside = standard - (standard @ self.subspace.T) @ self.subspace
        return standard @ self.weights + self.bias[0], (outside * outside).mean(dtype=np.float32)


def pool(rows: FloatArray) -> FloatArray:
    """Means over the 2 x 2 grid of a row's output: (N, h, w, C) with even h and w to (N, 4 * C)."""
    count, height, width, channels = rows.shape
    cells = rows.reshape(count, GRID, height // GRID, GRID, width // GRID, channels)
    pooled: FloatArray = cells.mean(axis=(2, 4), dtype=np.float32).reshape(count, -1)
    return pooled


def to_arrays(gate: Gate) -> dict[str, FloatArray]:
    """The gate's arrays under their names in the weights file."""
    return {f"{PREFIX}{field.name}": getattr(gate, field.name) for field in fields(Gate)}


def from_arrays(arrays: Mapping[str, FloatArray], features: int) -> Gate | None:
    """The gate among a model's arrays, for D = `features`; None where it has none.

    Raises:
        WrongShape: some of its arrays are there but not all, or one does not fit.
    """
    names = [field.name for field in fields(Gate)]
    found = {name: arrays[PREFIX + name] for name in names if PREFIX + name in arrays}
    extra = {name for name in arrays if name.startswith(PREFIX)} - {PREFIX + name for name in names}
    if not found and not extra:
        return None
    if extra or len(found) < len(names):
        raise WrongShape("The weights hold parts of an input gate only, or parts that this build does not know.")
    _check(found, features)
    return Gate(**found)


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
