"""Small models for tests: random arrays for a table, a model folder around them, an engine that answers by rule."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared import samples
from shared.arrays import FloatArray
from shared.manifest import ModelManifest, Thresholds
from training.export import fold, pack, seal, write_manifest
from training.fit import ignore
from training.quantize import write_int8
from training.recipe import LABELS
from worker.engine.architecture import Architecture, array_shapes, tiny
from worker.engine.base import Inference


def make_arrays(architecture: Architecture, seed: int = 0) -> dict[str, FloatArray]:
    """Random arrays of a table, scaled so that activations stay near 1; variances are positive."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, shape in array_shapes(architecture).items():
        spread = 1 / np.sqrt(max(1, np.prod(shape[:-1]))) if name.endswith("kernel") else 0.5
        values = rng.normal(0, spread, shape)
        if name.endswith(("variance", "gamma")):
            values = 0.5 + np.abs(values)
        arrays[name] = values.astype(np.float32)
    return arrays


def make_manifest(**changes: object) -> ModelManifest:
    """A manifest for the `tiny` table with three labels; any field can be changed."""
    fields: dict[str, object] = {
        "name": "plainfilm-test",
        "version": "1",
        "architecture": "tiny",
        "labels": LABELS,
        "input_shape": (64, 64, 1),
        "preprocessing": "grey_window_v1",
        "target_layer": "late_bn",
        "temperature": 1.0,
        "thresholds": Thresholds(min_probability=0.5, min_spread=0.01, set_quantiles=dict.fromkeys(LABELS, 0.5)),
        "weights_sha256": "0" * 64,
        "parameters": 1459,
        "recipe": "test",
        "trained_at": "2026-01-01",
        "trained_on": {},
        "metrics": {},
    }
    return ModelManifest.model_validate(fields | changes)


def write_weights(folder: Path, data: bytes, **changes: object) -> ModelManifest:
    """A model folder with these bytes as weights, sealed if they are an archive, and a manifest with their digest."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        data = seal(data, make_manifest(**changes))
    manifest = make_manifest(**{"weights_sha256": hashlib.sha256(data).hexdigest()} | changes)
    (folder / "weights.npz").write_bytes(data)
    write_manifest(folder, manifest)
    return manifest


def make_folded(seed: int = 0) -> dict[str, FloatArray]:
    """Folded arrays of the `tiny` table."""
    return fold(tiny(len(LABELS)), make_arrays(tiny(len(LABELS)), seed))


def write_model(folder: Path, arrays: Mapping[str, FloatArray] | None = None, **changes: object) -> ModelManifest:
    """A model folder that loads: the `tiny` table with these folded arrays, or with random ones."""
    return write_weights(folder, pack(make_folded() if arrays is None else arrays), **changes)


def quantize_model(folder: Path) -> ModelManifest:
    """`int8.npz` beside its weights, by the sample films, which it takes for films it learned from."""
    return write_int8(folder, samples.paths()[:6], 0, ignore)


@dataclass(frozen=True, slots=True)
class RuleEngine:
    """An `Engine` without a network: what it is given first decides what it says.

    The mean of each input picks the row of `answers`: [0, 1] is cut into as many equal parts as there are rows.
    """

    manifest: ModelManifest
    answers: tuple[tuple[float, ...], ...]
    device: str = "cpu/none"

    def infer(self, x: FloatArray) -> Inference:
        """Scores by the mean of each input; saliency is all zero."""
        places = np.minimum((x.mean(axis=(1, 2, 3)) * len(self.answers)).astype(int), len(self.answers) - 1)
        return only_scores(np.array(self.answers, np.float32)[places], np.zeros((len(x), 2, 2), np.float32))


def only_scores(probabilities: FloatArray, saliency: FloatArray) -> Inference:
    """What a model without an other output and without an input gate answers."""
    nothing = np.zeros(len(probabilities), np.float32)
    return Inference(probabilities, nothing, nothing, nothing, saliency)
