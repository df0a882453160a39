"""Whether the two engines say the same of films: the largest difference of each thing they answer, and the verdicts.

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
    """What two engines said of the same films.

    Attributes:
        films: how many.
        largest: answer to its largest absolute difference over all films.
        mean: answer to the mean over films of the film's largest absolute difference.
        verdicts: films with another verdict.
    """

    films: int
    largest: dict[str, float]
    mean: dict[str, float]
    verdicts: int


def compare(folder: Path, films: Sequence[Path], progress: Progress, precision: Precision = "f32") -> Agreement:
    """Both engines on the model in `folder` and the same inputs.

    Args:
        precision: of OpenVINO's arithmetic; Keras is asked in float32.

    Raises:
        DataProblem: no films, or one that cannot be read.
        ModelProblem: the model does not load, or OpenVINO cannot serve it.
    """
    if not films:
        raise DataProblem("There are no films to compare the engines on.")
    manifest = read_manifest(folder)
    weights = load_weights(folder, manifest)
    engines = build_engine("keras", manifest, weights), build_engine("openvino", manifest, weights, precision=precision)
    found: list[FloatArray] = []
    verdicts = 0
    for batch in _batches(films):
        apart, others = _batch(engines, batch)
        found.append(apart)
        verdicts += others
        progress("films through both engines", sum(map(len, found)), len(films))
    apart = np.concatenate(found)
    largest, mean = (dict(zip(ANSWERS, row.tolist(), strict=True)) for row in (apart.max(axis=0), apart.mean(axis=0)))
    return Agreement(len(films), largest, mean, verdicts)


def choose(films: Sequence[Path], count: int, seed: int) -> list[Path]:
    """`count` of the films drawn by the seed, or all where there are fewer."""
    places = np.random.default_rng(seed).permutation(len(films))[:count]
    return [films[place] for place in sorted(places)]


def _batch(engines: Sequence[Engine], films: Sequence[Path]) -> tuple[FloatArray, int]:
    """Each film's largest difference in each answer, (N, answers), and how many verdicts differ."""
    manifest = engines[0].manifest
    inputs = [prepare(read_film(film), manifest.preprocessing, manifest.input_shape) for film in films]
    x = stack([item.values for item in inputs])
    first, second = (engine.infer(x) for engine in engines)
    said = [
        [assess(found.evidence(place, item), manifest).verdict for place, item in enumerate(inputs)]
        for found in (first, second)
    ]
    apart = np.stack([_apart(first, second, answer) for answer in ANSWERS], axis=1)
    return apart, sum(a != b for a, b in zip(*said, strict=True))


def _apart(first: Inference, second: Inference, answer: str) -> FloatArray:
    difference = np.abs(getattr(first, answer) - getattr(second, answer))
    worst: FloatArray = difference.reshape(len(difference), -1).max(axis=1)
    return worst


def _batches(films: Sequence[Path]) -> Iterator[Sequence[Path]]:
    return (films[start : start + BATCH] for start in range(0, len(films), BATCH))
