"""The views of the controls: the features that each computes from a film, and the small classifier trained on them.

Polarity is not corrected here: on a covered film the check would depend on the cover. Called by `controls.py`.
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
"""Side of a covered film's thumbnail where the recipe has no frozen rows to compute features with."""

ROWS: Final[Mapping[str, str]] = MappingProxyType({"lite0": "block10_add", "tiny": "conv1_relu"})
"""By architecture, the row whose features a control is trained on."""

LOGISTIC: Final = "logistic regression on"
INVERSE_PENALTY: Final = 0.1
TREES: Final = 200
LEAST_LEAF: Final = 5

Classifier = Any  # scikit-learn ships no types
Name = Literal["lungs_blacked_out", "border_only", "thumbnail_16", "metadata_only"]


@dataclass(frozen=True, slots=True)
class View:
    """One control.

    Attributes:
        name, what: name and description in the report.
        features: films to features (N, D) float32.
        new_classifier: a seed to an untrained classifier of such features.
    """

    name: Name
    what: str
    features: Callable[[Sequence[Example]], FloatArray]
    new_classifier: Callable[[int], Classifier]


def make_views(manifest: ModelManifest, recipe: Recipe, data: Path, progress: Progress) -> tuple[View, ...]:
    """Return the views of the four controls.

    Args:
        manifest: of the model, for its preprocessing and input shape.
        data: the data folder, with the recipe's pretrained weights and manifest.

    Raises:
        DataProblem: the pretrained weights are missing.
    """
    compute, features_name = _make_features(manifest, recipe, data)
    thumbnail = _make_shrink(THUMBNAIL_PX)
    sizes = read_original_sizes(recipe, data)

    def over(name: Name, rows: Callable[[list[Example]], FloatArray]) -> Callable[[Sequence[Example]], FloatArray]:
        return lambda films: _in_chunks(films, rows, lambda done: progress(f"control {name}", done, len(films)))

    def covered(cover: Callable[[Pixels], Pixels]) -> Callable[[list[Example]], FloatArray]:
        return lambda films: compute([cover(read_film(film.path)) for film in films])

    return (
        View(
            "lungs_blacked_out",
            f"{LOGISTIC} {features_name}, two ellipses over the lungs filled with the mean grey of the rest",
            over("lungs_blacked_out", covered(cover_lungs)),
            logistic,
        ),
        View(
            "border_only",
            f"{LOGISTIC} {features_name}, all but the outer 10 % of each side filled with that border's mean grey",
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


def logistic(seed: int) -> Classifier:
    """Return a logistic regression on standardised features with equal weight for each label."""
    classifier = LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=2000, random_state=seed)
    return make_pipeline(StandardScaler(), classifier)


def forest(seed: int) -> Classifier:
    """Return a random forest with equal weight for each label."""
    return RandomForestClassifier(TREES, min_samples_leaf=LEAST_LEAF, class_weight="balanced", random_state=seed)


def metadata(path: Path, sizes: dict[Path, tuple[int, int]]) -> tuple[float, ...]:
    """Return original width and height in pixels, mean and spread in [0, 1], 1 for colour, and bits a sample."""
    film = decode(path.read_bytes())
    scaled = film.pixels / np.iinfo(film.pixels.dtype).max
    width, height = sizes.get(path, (film.facts.width_px, film.facts.height_px))
    is_colour = film.facts.mode not in {"1", "L", "LA", "I;16"}
    return width, height, float(scaled.mean()), float(scaled.std()), float(is_colour), film.facts.bit_depth


def read_original_sizes(recipe: Recipe, data: Path) -> dict[Path, tuple[int, int]]:
    """Return `orig_width` and `orig_height` by film, for the rows of the recipe's manifest that have both."""
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


Features = Callable[[list[Pixels]], FloatArray]


def _make_features(manifest: ModelManifest, recipe: Recipe, data: Path) -> tuple[Features, str]:
    """Return a function from films to features, and its name: a row of the untrained network, or coarse pixels."""
    row = ROWS.get(recipe.architecture)
    if row is None or recipe.frozen_until is None:
        return _make_shrink(COARSE_PX), f"{COARSE_PX} x {COARSE_PX} pixels of the film"
    trunk = _make_trunk(replace(recipe, frozen_until=row), data)
    grey = get_preprocessing(manifest.preprocessing).grey
    height, width, _ = manifest.input_shape

    def compute(films: list[Pixels]) -> FloatArray:
        return pool(np.asarray(trunk(stack([grey(pixels, height, width) for pixels in films])), np.float32))

    return compute, f"2 x 2 means of the row {row} before learning"


def _make_trunk(recipe: Recipe, data: Path) -> Trunk:
    """Return the rows up to the recipe's `frozen_until` as they were before training."""
    keras.utils.set_random_seed(recipe.seed)
    pretrained = read_pretrained(data / recipe.pretrained, recipe.pretrained_sha256) if recipe.pretrained else {}
    return build_network(recipe, pretrained, 1).trunk


def _make_shrink(side_px: int) -> Features:
    """Return a function from films to their pixels at side_px x side_px, windowed."""
    return lambda films: np.stack([window(squash(pixels, side_px, side_px)).ravel() for pixels in films])


def _in_chunks(
    films: Sequence[Example], rows: Callable[[list[Example]], FloatArray], show: Callable[[int], None]
) -> FloatArray:
    parts: list[FloatArray] = []
    for start in range(0, len(films), CHUNK):
        parts.append(rows(list(films[start : start + CHUNK])))
        show(min(start + CHUNK, len(films)))
    return np.concatenate(parts)
