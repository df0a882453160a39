"""Numbers that judge a saliency map: share of mass at the border, degenerate or not. numpy only.

A map with much of its mass outside the lungs says that the network looked at something else; a degenerate one
says nothing and must not be drawn. Called by the pipeline through `describe`, and by training.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from shared.domain import FloatArray, SaliencyMap

BORDER: Final = 0.1
"""Width of the border on each side, as a share of that side."""


def border_share(values: FloatArray) -> float:
    """Share of the map's mass in the outer 10 % of each side; 0 for a map without mass.

    A cell is taken as evenly filled, so a border that cuts through cells counts them in part:
    a constant map has 1 - 0.8 * 0.8 = 0.36 whatever its size.

    Args:
        values: (h, w) float32, >= 0.
    """
    total = float(values.sum(dtype=np.float64))
    if not np.isfinite(total) or total <= 0:
        return 0.0
    inside = np.outer(_inner_share(values.shape[0]), _inner_share(values.shape[1]))
    return float(np.clip(1.0 - (values * inside).sum(dtype=np.float64) / total, 0.0, 1.0))


def _inner_share(cells: int) -> FloatArray:
    """For each of `cells` equal intervals of [0, 1]: the share of it that lies in [0.1, 0.9]."""
    edges = np.arange(cells + 1) / cells
    low = np.maximum(edges[:-1], BORDER)
    high = np.minimum(edges[1:], 1 - BORDER)
    return (np.clip(high - low, 0.0, None) * cells).astype(np.float32)


def is_degenerate(values: FloatArray) -> bool:
    """True where the map says nothing: empty, not finite, or the same everywhere (all zero included)."""
    if values.size == 0 or not bool(np.isfinite(values).all()):
        return True
    return bool(values.max() <= 0 or np.ptp(values) <= np.finfo(np.float32).eps * float(values.max()))


def describe(values: FloatArray, method: str = "grad_cam") -> SaliencyMap:
    """One raw map (h, w) float32 with the numbers that judge it."""
    return SaliencyMap(
        method=method,
        values=values,
        border_share=border_share(values),
        is_degenerate=is_degenerate(values),
    )
