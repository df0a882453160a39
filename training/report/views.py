"""What each control sees of a film, as rows of numbers, and the small classifier that judges by them.

Polarity is not corrected here: on a covered film the check would judge by what is missing. Called by `controls.py`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

import keras
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from shared.arrays import FloatArray, Pixels
from shared.imaging.decode import decode
from shared.imaging.preprocess import get_preprocessing, squash, stack, window
from shared.manifest import ModelManifest
from training.dataset import Example, read_film
from training.features import Progress, Trunk
from training.imagenet import read_pretrained
from training.network import build_network
from training.recipe import Recipe
from training.report.covers import cover_lungs, keep_border
from training.splits import find_manifest
from worker.engine.gate import pool

CHUNK: Final = 32
THUMBNAIL_PX: Final = 16
COARSE_PX: Final = 32
"""Side of a covered film where the recipe has no frozen rows to see it by."""

ROWS: Final[Mapping[str, str]] = MappingProxyType({"lite0": "block10_add", "tiny": "conv1_relu"})
"""By architecture, the row whose features a control learns on."""

LOGISTIC: Final = "logistic regression on"
INVERSE_PENALTY: Final = 0.1
TREES: Final = 200
LEAST_LEAF: Final = 5

Judge = Any  # scikit-learn ships no types
Name = Literal["lungs_blacked_out", "border_only", "thumbnail_16", "metadata_only"]


@dataclass(frozen=True, slots=True)
class View:
    """One control.

    Attributes:
        name, what: in the report.
        look: films to rows (N, D) float32.
        new_judge: a seed to an untrained classifier of such rows.
    """

    name: Name
    what: str
    look: Callable[[Sequence[Example]], FloatArray]
    new_judge: Callable[[int], Judge]


def make_views(manifest: ModelManifest, recipe: Recipe, data: Path, progress: Progress) -> tuple[View, ...]:
    """The four controls.

    Args:
        manifest: of the model, for its preprocessing and input.
        data: the data folder, where the recipe's pretrained weights and manifest are.

    Raises:
        DataProblem: the pretrained weights are not there.
    """
    see, seen_by = _make_sight(manifest, recipe, data)
    thumbnail = _make_shrink(THUMBNAIL_PX)
    sizes = read_original_sizes(recipe, data)

    def over(name: Name, rows: Callable[[list[Example]], FloatArray]) -> Callable[[Sequence[Example]], FloatArray]:
        return lambda films: _in_chunks(films, rows, lambda done: progress(f"control {name}", done, len(films)))

    def covered(cover: Callable[[Pixels], Pixels]) -> Callable[[list[Example]], FloatArray]:
        return lambda films: see([cover(read_film(film.path)) for film in films])

    return (
        View(
            "lungs_blacked_out",
            f"{LOGISTIC} {seen_by}, two ellipses over the lungs filled with the mean grey of the rest",
            over("lungs_blacked_out", covered(cover_lungs)),
            logistic,
        ),
        View(
            "border_only",
            f"{LOGISTIC} {seen_by}, all but the outer 10 % of each side filled with that border's mean grey",
            over("border_only", covered(keep_border)),
            logistic,
        ),
        View(
            "thumbnail_16",
            f"{LOGISTIC} {THUMBNAIL_PX} x {THUMBNAIL_PX} pixels of the film",
            over("thumbnail_16", lambda films: thumbnail([read_film(film.path) for film in films])),
            logistic,
        ),
        View(
            "metadata_only",
            "random forest on original width and height, mean and spread of the grey values, colour and bit depth",
            over("metadata_only", lambda films: np.array([metadata(film.path, sizes) for film in films], np.float32)),
            forest,
        ),
    )


def logistic(seed: int) -> Judge:
    """Logistic regression on standardised numbers, each label weighing the same."""
    judge = LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=2000, random_state=seed)
    return make_pipeline(StandardScaler(), judge)


def forest(seed: int) -> Judge:
    """A random forest, each label weighing the same."""
    return RandomForestClassifier(TREES, min_samples_leaf=LEAST_LEAF, class_weight="balanced", random_state=seed)


def metadata(path: Path, sizes: dict[Path, tuple[int, int]]) -> tuple[float, ...]:
    """Of one film: original width and height in pixels, mean and spread in [0, 1], 1 for colour, bits a sample."""
    film = decode(path.read_bytes())
    scaled = film.pixels / np.iinfo(film.pixels.dtype).max
    width, height = sizes.get(path, (film.facts.width_px, film.facts.height_px))
    is_colour = film.facts.mode not in {"1", "L", "LA", "I;16"}
    return width, height, float(scaled.mean()), float(scaled.std()), float(is_colour), film.facts.bit_depth


def read_original_sizes(recipe: Recipe, data: Path) -> dict[Path, tuple[int, int]]:
    """`orig_width` and `orig_height` by film, of the rows of the recipe's manifest that state both."""
    manifest = find_manifest(recipe, data)
    if manifest is None:
        return {}
    with manifest.open(encoding="utf-8-sig", newline="") as file:
        return dict(_original_sizes(manifest.parent, csv.DictReader(file)))


def _original_sizes(folder: Path, rows: csv.DictReader[str]) -> Iterator[tuple[Path, tuple[int, int]]]:
    for row in rows:
        width, height = row.get("orig_width") or "", row.get("orig_height") or ""
        if width.isdecimal() and height.isdecimal():
            yield folder / row["file"], (int(width), int(height))


Sight = Callable[[list[Pixels]], FloatArray]


def _make_sight(manifest: ModelManifest, recipe: Recipe, data: Path) -> tuple[Sight, str]:
    """Films to rows, and by what: a row of the network as it was before it learned, or coarse pixels."""
    row = ROWS.get(recipe.architecture)
    if row is None or recipe.frozen_until is None:
        return _make_shrink(COARSE_PX), f"{COARSE_PX} x {COARSE_PX} pixels of the film"
    trunk = _make_trunk(replace(recipe, frozen_until=row), data)
    grey = get_preprocessing(manifest.preprocessing).grey
    height, width, _ = manifest.input_shape

    def see(films: list[Pixels]) -> FloatArray:
        return pool(np.asarray(trunk(stack([grey(pixels, height, width) for pixels in films])), np.float32))

    return see, f"2 x 2 means of the row {row} before learning"


def _make_trunk(recipe: Recipe, data: Path) -> Trunk:
    """The rows up to the recipe's `frozen_until` as they were before it learned."""
    keras.utils.set_random_seed(recipe.seed)
    pretrained = read_pretrained(data / recipe.pretrained, recipe.pretrained_sha256) if recipe.pretrained else {}
    return build_network(recipe, pretrained, 1).trunk


def _make_shrink(side_px: int) -> Sight:
    """Films to their pixels at side_px x side_px, windowed."""
    return lambda films: np.stack([window(squash(pixels, side_px, side_px)).ravel() for pixels in films])


def _in_chunks(
    films: Sequence[Example], rows: Callable[[list[Example]], FloatArray], show: Callable[[int], None]
) -> FloatArray:
    parts: list[FloatArray] = []
    for start in range(0, len(films), CHUNK):
        parts.append(rows(list(films[start : start + CHUNK])))
        show(min(start + CHUNK, len(films)))
    return np.concatenate(parts)
