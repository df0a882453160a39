"""Whether the two engines agree on films: the largest difference of each number they return, and the verdicts.

Called by `plainfilm model compare`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from shared.arrays import FloatArray
from shared.errors import DataProblem
from shared.imaging.preprocess import prepare, stack
from shared.manifest import read_manifest
from shared.verdict import assess
from training.dataset import read_film
from training.features import Progress
from worker.engine.base import Engine, Inference
from worker.engine.choose import Precision, build_engine
from worker.engine.weights import load_weights

BATCH: Final = 16
ANSWERS: Final = ("probabilities", "other", "film_distance", "feature_distance", "saliency")


@dataclass(frozen=True, slots=True)
class Agreement:
    """Differences between the answers of two engines on the same films.

    Attributes:
        films: number of films.
        largest: name of an answer to its largest absolute difference over all films.
        mean: name of an answer to the mean over films of the film's largest absolute difference.
        verdicts: number of films on which the verdicts differ.
    """

    films: int
    largest: dict[str, float]
    mean: dict[str, float]
    verdicts: int


def compare(folder: Path, films: Sequence[Path], progress: Progress, precision: Precision = "f32") -> Agreement:
    """Return how far the answers of both engines differ, for the model in `folder` and the same inputs.

    Args:
        precision: of OpenVINO's arithmetic; Keras computes in float32.

    Raises:
        DataProblem: there are no films, or a film cannot be read.
        ModelProblem: the model does not load, or OpenVINO cannot serve it.
    """
    if not films:
        raise DataProblem("There are no films to compare the engines on.")
    manifest = read_manifest(folder)
    weights = load_weights(folder, manifest)
    engines = build_engine("keras", manifest, weights), build_engine("openvino", manifest, weights, precision=precision)
    parts: list[FloatArray] = []
    verdicts = 0
    for batch in _batches(films):
        differences, other_verdicts = _compare_batch(engines, batch)
        parts.append(differences)
        verdicts += other_verdicts
        progress("films through both engines", sum(map(len, parts)), len(films))
    every = np.concatenate(parts)
    largest, mean = (dict(zip(ANSWERS, row.tolist(), strict=True)) for row in (every.max(axis=0), every.mean(axis=0)))
    return Agreement(len(films), largest, mean, verdicts)


def choose(films: Sequence[Path], count: int, seed: int) -> list[Path]:
    """Return `count` of the films, drawn by the seed; all where there are fewer."""
    places = np.random.default_rng(seed).permutation(len(films))[:count]
    return [films[place] for place in sorted(places)]


def _compare_batch(engines: Sequence[Engine], films: Sequence[Path]) -> tuple[FloatArray, int]:
    """Return each film's largest difference in each answer, (N, answers), and the number of verdicts that differ."""
    manifest = engines[0].manifest
    inputs = [prepare(read_film(film), manifest.preprocessing, manifest.input_shape) for film in films]
    x = stack([item.values for item in inputs])
    first, second = (engine.infer(x) for engine in engines)
    verdicts = [
        [assess(inference.evidence(place, item), manifest).verdict for place, item in enumerate(inputs)]
        for inference in (first, second)
    ]
    differences = np.stack([_difference(first, second, answer) for answer in ANSWERS], axis=1)
    return differences, sum(a != b for a, b in zip(*verdicts, strict=True))


def _difference(first: Inference, second: Inference, answer: str) -> FloatArray:
    difference = np.abs(getattr(first, answer) - getattr(second, answer))
    worst: FloatArray = difference.reshape(len(difference), -1).max(axis=1)
    return worst


def _batches(films: Sequence[Path]) -> Iterator[Sequence[Path]]:
    return (films[start : start + BATCH] for start in range(0, len(films), BATCH))
