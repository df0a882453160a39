"""An engine without TensorFlow, so that a restarted worker costs two CPU cores a second and not five.

It has the real port (`worker.engine.base`), takes CHAOS_FILM_MS a film and answers from the pixels alone, so that the
harness can tell whether a film got its own answer or another's. The films of `hazards` end or bloat its process.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np

from shared.arrays import FloatArray
from shared.errors import WrongShape
from shared.manifest import ModelManifest
from tests.chaos import hazards
from worker.engine.base import Inference
from worker.engine.weights import Weights

FILM_MS = "CHAOS_FILM_MS"
STAND_IN = "standin"
"""How the command line names it; any other engine is the product's."""

MAP_SIDE = 7


@dataclass(frozen=True, slots=True)
class StandIn:
    """An `Engine` that sleeps instead of computing."""

    manifest: ModelManifest
    film_s: float
    device: str = "chaos/standin"

    def infer(self, x: FloatArray) -> Inference:
        """Answers for x: (N, H, W, C) float32 in [0, 1], after `film_s` a film.

        Raises:
            WrongShape: x is not of the manifest's input shape.
        """
        if x.shape[1:] != self.manifest.input_shape:
            raise WrongShape("The input does not have the model's shape.")
        hazards.befall(x)
        time.sleep(self.film_s * len(x))
        nothing = np.zeros(len(x), np.float32)
        side = slice(None, None, max(1, x.shape[1] // MAP_SIDE))
        saliency = np.ascontiguousarray(x[:, side, side, 0][:, :MAP_SIDE, :MAP_SIDE])
        return Inference(probabilities(x, len(self.manifest.labels)), nothing, nothing, nothing, saliency)


def probabilities(x: FloatArray, labels: int) -> FloatArray:
    """(N, H, W, C) float32 to (N, labels) float32: how bright each of as many stripes is; rows sum to 1."""
    stripes = np.array_split(x.astype(np.float64), labels, axis=1)
    bright = np.stack([stripe.mean(axis=(1, 2, 3)) for stripe in stripes], axis=1) + 0.01
    shares: FloatArray = (bright / bright.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def build_engine(manifest: ModelManifest, _weights: Weights, *_options: object) -> StandIn:
    """What the worker calls instead of the real one."""
    return StandIn(manifest, int(os.environ.get(FILM_MS, "5")) / 1000)
