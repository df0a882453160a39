"""Measures the quality of a saliency map by the network: do the marked pixels matter to the score? numpy only.

A map is a claim about the network. `judge` tests it: the marked blocks are removed (deletion) or shown alone
(insertion) and compared with random orders, the map is compared with a second method's, and with those of slightly
noisy copies of the film. None of this says anything about disease. Called by the worker after the verdict is stored,
and by `training/explain_check.py`.

Deletion and insertion have a limit: a film without any block left still has a score, the last number of `deletion`.
Where that score is as high as the whole film's, no order of removal can look good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from shared.arrays import FloatArray
from shared.domain import PIXEL_METHODS, ExplanationMethod
from shared.errors import WrongShape
from worker.engine.explain import Explainer, parameters_for
from worker.engine.quality import Degenerate, border_share, degenerate_reason, rank_correlation

STEPS: Final = 16
GRID: Final = 16
"""Blocks a side: 256 blocks of equal size (to a pixel), 16 a step; a Grad-CAM cell is about 2 x 2 of them."""

RANDOM_ORDERS: Final = 19
"""A map of noise beats all of them one time in twenty. Against the mean of four orders, two in three maps of noise
looked better in deletion or insertion (72 maps of 12 films): the areas of single orders scatter by .065 to .079."""
NOISES: Final = 4
NOISE: Final = 0.02
"""Standard deviation of the noise that stability is measured under, as a share of [0, 1]: five grey values of 255."""

SECOND: Final[Mapping[str, ExplanationMethod]] = MappingProxyType(
    {
        method: ExplanationMethod.GRAD_CAM if method in PIXEL_METHODS else ExplanationMethod.INTEGRATED_GRADIENTS
        for method in ExplanationMethod
    }
)
"""The second method that each method is compared with: one of the other kind (features or pixels)."""

Scores = Callable[[FloatArray], FloatArray]
"""Inputs (N, H, W, C) to one label's probability (N,)."""
Blocks = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class MapQuality:
    """Quality of a map: plain numbers, stored beside it.

    Attributes:
        method, label, seed: the map's method, the index of the label explained, and the seed of every draw here.
        deletion: the label's probability with 0, 1, ..., 16 sixteenths of the film removed, most marked first.
        insertion: likewise with so many shown and the rest removed.
        deletion_auc, insertion_auc: areas under them (trapezoid), in [0, 1]; a good map has a low first and a high
            second one (Petsiuk et al. 2018, arXiv 1806.07421).
        random_auc, random_least, random_most: the same area for random orders, the mean, the least and the largest of
            `RANDOM_ORDERS`. They serve both: showing blocks in an order is removing them in the reverse order, which
            is equally random. A deletion below the least, or an insertion above the largest, is better than
            random at the level of 1 / (RANDOM_ORDERS + 1).
        second_method, agreement: Spearman correlation with that method's map over the blocks; None where one of the
            two maps is constant.
        stability: mean Spearman correlation of the map with those of `NOISES` slightly noisy copies; None likewise.
        border_share, is_degenerate, degenerate_reason: see `quality.py`.
    """

    method: str
    label: int
    seed: int
    deletion: tuple[float, ...]
    insertion: tuple[float, ...]
    deletion_auc: float
    insertion_auc: float
    random_auc: float
    random_least: float
    random_most: float
    second_method: str
    agreement: float | None
    stability: float | None
    border_share: float
    is_degenerate: bool
    degenerate_reason: Degenerate | None


def judge(  # noqa: PLR0913, PLR0917 - a map is judged with all that it claims to be
    explainer: Explainer, x: FloatArray, values: FloatArray, method: str, label: int, seed: int
) -> MapQuality:
    """Return the quality of one map.

    Args:
        explainer: the model that the map explains.
        x: (H, W, C) float32 in [0, 1], the tensor that was classified and explained.
        values: (h, w) float32 in [0, 1], its map by `method` (with its default parameters) for `label`.
        method: one of `explain.METHODS`.
        label: index of the label explained.
        seed: of the map, and of the random orders and noises drawn here.

    Raises:
        InvalidRequest: there is no such method.
        WrongShape: x does not fit the model, or `values` has another size than the method's maps.
    """
    parameters_for(method)
    rng = np.random.default_rng(seed)
    labels = np.array([label])
    marked = block_means(values)
    second = SECOND[method]
    other = explainer.explain(x[np.newaxis], second, labels, seed)[0]
    deletion, insertion, random = _curves(lambda films: explainer.scores(films)[:, label], x, marked, rng)
    noisy = x + np.float32(NOISE) * rng.standard_normal((NOISES, *x.shape), np.float32)
    noisy_maps = explainer.explain(np.clip(noisy, 0, 1), method, np.repeat(labels, NOISES), seed)
    if values.shape != noisy_maps.shape[1:]:
        raise WrongShape(f"A map of '{method}' is {noisy_maps.shape[1:]}, it was given {values.shape}.")
    reason = degenerate_reason(values)
    return MapQuality(
        method=method,
        label=label,
        seed=seed,
        deletion=tuple(deletion.tolist()),
        insertion=tuple(insertion.tolist()),
        deletion_auc=area(deletion),
        insertion_auc=area(insertion),
        random_auc=float(np.mean(random)),
        random_least=min(random),
        random_most=max(random),
        second_method=second,
        agreement=rank_correlation(marked, block_means(other)),
        stability=_mean_correlation(values, noisy_maps),
        border_share=border_share(values),
        is_degenerate=reason is not None,
        degenerate_reason=reason,
    )


def to_json(quality: MapQuality) -> dict[str, object]:
    """Return the quality as plain JSON values: every number a number, tuples as lists."""
    return asdict(quality) | {"deletion": list(quality.deletion), "insertion": list(quality.insertion)}


def take_away(scores: Scores, x: FloatArray, marked: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the deletion curve: probabilities (STEPS + 1,) as blocks become the film's mean grey, most marked first.

    A uniform grey has no edges and keeps nothing of the film but its brightness; a blur would keep a thumbnail of it,
    which this network can read. Equally marked blocks go in random order, so a constant map is judged as a random one.

    Args:
        scores: one label's probability.
        x: (H, W, C) float32 in [0, 1].
        marked: (GRID, GRID) float32, how much each block is marked.
        rng: breaks ties.
    """
    turn = np.empty(marked.size, np.intp)
    turn[np.lexsort((rng.random(marked.size), -marked.ravel()))] = np.arange(marked.size)
    pixel_turn = turn[_block_of_pixels(x.shape[0], x.shape[1])]
    gone = np.arange(STEPS + 1)[:, np.newaxis, np.newaxis] * (marked.size // STEPS)
    is_gone = (pixel_turn < gone)[..., np.newaxis]
    return scores(np.where(is_gone, x.mean(axis=(0, 1)), x).astype(np.float32, copy=False))


def area(curve: FloatArray) -> float:
    """Return the area under a curve of evenly spaced points over [0, 1], by the trapezoid rule."""
    return float(np.mean((curve[:-1] + curve[1:]) / 2, dtype=np.float64))


def block_means(values: FloatArray) -> FloatArray:
    """Return a map (h, w) on GRID x GRID blocks: means of cells, interpolated where fewer; zeros if not finite."""
    if values.size == 0 or not np.isfinite(values).all():
        return np.zeros((GRID, GRID), np.float32)
    picture = Image.fromarray(np.ascontiguousarray(values, np.float32))
    smooth = Image.Resampling.BOX if min(values.shape) >= GRID else Image.Resampling.BILINEAR
    return np.asarray(picture.resize((GRID, GRID), smooth), np.float32)


def _curves(
    scores: Scores, x: FloatArray, marked: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, list[float]]:
    """Return the deletion curve, the insertion curve, and the areas of random orders."""
    deletion = take_away(scores, x, marked, rng)
    insertion = take_away(scores, x, -marked, rng)[::-1]
    unmarked = np.zeros_like(marked)
    return deletion, insertion, [area(take_away(scores, x, unmarked, rng)) for _ in range(RANDOM_ORDERS)]


def _block_of_pixels(height: int, width: int) -> Blocks:
    """Return the number of the block that each pixel lies in, (height, width); blocks are numbered row by row."""
    rows, columns = (np.arange(side) * GRID // side for side in (height, width))
    return rows[:, np.newaxis] * GRID + columns


def _mean_correlation(values: FloatArray, others: FloatArray) -> float | None:
    """Return the mean rank correlation of a map with others of its shape; None where no correlation is defined."""
    ranks = [rank for other in others if (rank := rank_correlation(values, other)) is not None]
    return float(np.mean(ranks)) if ranks else None
