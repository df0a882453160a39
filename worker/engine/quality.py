"""Measures the quality of a saliency map by itself: share of mass at the border, degenerate or not. numpy only.

A map with much of its mass outside the lungs means that the network reacted to something else; a degenerate map has no
meaning and must not be drawn. Called by the pipeline through `describe`, by `judge.py`, which also queries the network,
and by training.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from shared.arrays import FloatArray
from shared.domain import ExplanationMethod, SaliencyMap

BORDER: Final = 0.1
"""Width of the border on each side, as a share of that side."""

CORNER: Final = 0.25
"""Side of the square in each corner, as a share of the map's side."""

CORNER_MASS: Final = 0.9
"""A map with this share of its mass in one corner square is degenerate: no lung lies in a corner alone."""

Degenerate = Literal["empty", "not_finite", "all_zero", "constant", "one_corner"]


def border_share(values: FloatArray) -> float:
    """Return the share of the map's mass in the outer 10 % of each side; 0 for a map without mass.

    The mass of a cell is taken as spread evenly, so a border that cuts through cells counts them in part:
    a constant map has 1 - 0.8 * 0.8 = 0.36 whatever its size.

    Args:
        values: (h, w) float32, >= 0.
    """
    total = _mass(values)
    if total <= 0:
        return 0.0
    middle = np.outer(*(_share_within(side, BORDER, 1 - BORDER) for side in values.shape))
    return float(np.clip(1.0 - (values * middle).sum(dtype=np.float64) / total, 0.0, 1.0))


def corner_share(values: FloatArray) -> float:
    """Return the largest share of the map's mass within one of its four corner squares; 0 for a map without mass.

    A corner square is 25 % of each side; cells count in part as in `border_share`, so a constant map has 0.0625.

    Args:
        values: (h, w) float32, >= 0.
    """
    total = _mass(values)
    if total <= 0:
        return 0.0
    ends = [np.stack([_share_within(side, 0, CORNER), _share_within(side, 1 - CORNER, 1)]) for side in values.shape]
    corners = ends[0] @ values.astype(np.float64) @ ends[1].T
    return float(np.clip(corners.max() / total, 0.0, 1.0))


def _mass(values: FloatArray) -> float:
    """Return the sum, or 0 where it is not finite."""
    total = float(values.sum(dtype=np.float64))
    return total if np.isfinite(total) else 0.0


def _share_within(cells: int, low: float, high: float) -> FloatArray:
    """Return, for each of `cells` equal intervals of [0, 1], the share of it that lies in [low, high]."""
    edges = np.arange(cells + 1) / cells
    covered = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    return (np.clip(covered, 0.0, None) * cells).astype(np.float32)


def degenerate_reason(values: FloatArray) -> Degenerate | None:
    """Return why a map (h, w) is degenerate; None where it is not.

    empty: no cell. not_finite: a value is NaN or infinite. all_zero: no value above 0. constant: the same everywhere
    to float32's precision. one_corner: at least 90 % of the mass within one corner square of 25 % of each side.
    """
    if values.size == 0:
        return "empty"
    if not np.isfinite(values).all():
        return "not_finite"
    if values.max() <= 0:
        return "all_zero"
    if np.ptp(values) <= np.finfo(np.float32).eps * float(values.max()):
        return "constant"
    return "one_corner" if corner_share(values) >= CORNER_MASS else None


def rank_correlation(first: FloatArray, second: FloatArray) -> float | None:
    """Return Spearman's rank correlation of two arrays of one shape, in [-1, 1]; ties share their mean rank.

    Returns:
        None where either array is constant, empty or not finite: the correlation is not defined then.
    """
    if first.size == 0 or not (np.isfinite(first).all() and np.isfinite(second).all()):
        return None
    ranks = [_centred_ranks(values) for values in (first, second)]
    norms = [float(np.sqrt((values * values).sum())) for values in ranks]
    if min(norms) == 0:
        return None
    return float(np.clip((ranks[0] * ranks[1]).sum() / (norms[0] * norms[1]), -1.0, 1.0))


def _centred_ranks(values: FloatArray) -> npt.NDArray[np.float64]:
    """Return the ranks of the values in C order, ties at their mean rank, minus the mean of all ranks."""
    _, place, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean_ranks = ends - (counts + 1) / 2
    ranks: npt.NDArray[np.float64] = mean_ranks[place] - (values.size - 1) / 2
    return ranks


def describe(values: FloatArray) -> SaliencyMap:
    """Return a verdict's Grad-CAM map (h, w) float32 with its border share and whether it is degenerate."""
    return SaliencyMap(
        method=ExplanationMethod.GRAD_CAM.value,
        values=values,
        border_share=border_share(values),
        is_degenerate=degenerate_reason(values) is not None,
    )
