"""The engine port: the interface of a loaded model for the pipeline and training. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from shared.arrays import FloatArray, Pixels
from shared.domain import Evidence
from shared.errors import WrongShape
from shared.imaging.preprocess import NetworkInput, prepare, stack
from shared.manifest import ModelManifest


@dataclass(frozen=True, slots=True)
class Inference:
    """Outputs of one call of an engine.

    Attributes:
        probabilities: (N, K) float32 over the model's labels, calibrated with the manifest's temperature; rows sum to
            1, whatever the probability of an other finding.
        other: (N,) float32, probability in [0, 1] of an other finding, by the same temperature; 0 without that output.
        film_distance, feature_distance: (N,) float32 of the input gate, see `gate.Gate.distances`; 0 without a gate.
        saliency: (N, h, w) float32 in [0, 1], Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) of each
            film's most probable label at the manifest's target layer; all zero where no feature raises its logit.
    """

    probabilities: FloatArray
    other: FloatArray
    film_distance: FloatArray
    feature_distance: FloatArray
    saliency: FloatArray

    @property
    def is_finite(self) -> bool:
        """Whether all numbers that a verdict depends on are finite."""
        return all(
            np.isfinite(values).all()
            for values in (self.probabilities, self.other, self.film_distance, self.feature_distance)
        )

    def evidence(self, index: int, film: NetworkInput) -> Evidence:
        """Return the evidence on the film at `index`, whose network input was `film`."""
        return Evidence(
            probabilities=self.probabilities[index],
            other=float(self.other[index]),
            film_distance=float(self.film_distance[index]),
            feature_distance=float(self.feature_distance[index]),
            spread=float(film.values.std()),
            elongation=film.elongation,
            was_inverted=film.was_inverted,
        )


class Engine(Protocol):
    """A model that is loaded, traced and warmed up."""

    @property
    def manifest(self) -> ModelManifest:
        """The manifest of the loaded weights."""

    @property
    def device(self) -> str:
        """Device and build that the model runs on, e.g. 'cpu/tensorflow-2.21.0'; stored with each result."""

    def infer(self, x: FloatArray) -> Inference:
        """Return scores and Grad-CAM for x: (N, H, W, C) float32 in [0, 1], N >= 1; one call at a time.

        Raises:
            WrongShape: x is not of the manifest's input shape.
        """


def look(engine: Engine, films: Iterable[Pixels]) -> list[Evidence]:
    """Return the evidence on one or more films (H, W) uint8 or uint16 of any sizes, by one engine call."""
    manifest = engine.manifest
    inputs = [prepare(pixels, manifest.preprocessing, manifest.input_shape) for pixels in films]
    inference = engine.infer(stack([film.values for film in inputs]))
    return [inference.evidence(place, film) for place, film in enumerate(inputs)]


def check_input(x: FloatArray, shape: tuple[int, int, int]) -> None:
    """Check that x is (N, *shape) float32 with N >= 1.

    Raises:
        WrongShape: naming its shape and type where they differ.
    """
    if x.shape[1:] != shape:
        raise WrongShape(f"The network takes (N, *{shape}), it was given {x.shape}.")
    if x.shape[0] == 0 or x.dtype != np.float32:
        raise WrongShape(f"The network takes one film or more as float32, it was given {x.shape[0]} as {x.dtype}.")
