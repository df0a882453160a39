"""The work of one film as every peer does it: decode, the product's preprocessing, probabilities and Grad-CAM.

Weights, preprocessing and calibration are plainfilm's own code, so that only the design around them differs. The input
gate's distances are computed too where the graph is OpenVINO's; the tutorial design is spared them.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from shared.arrays import FloatArray, Pixels
from shared.imaging import decode, preprocess
from shared.manifest import ModelManifest, read_manifest
from shared.verdict import calibrate
from worker.engine.attribution import over_peak
from worker.engine.base import Engine
from worker.engine.choose import Precision, usual_precision
from worker.engine.weights import load_weights
from worker.serving import SHIPPED_MODEL

PILLOW, PLAINFILM = "pillow", "plainfilm"
"""Who decodes: Pillow as most services do, or plainfilm's own strict decoder."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of a film: probability by label; the map (h, w) float32 in [0, 1]."""

    probabilities: dict[str, float]
    saliency: FloatArray

    def to_json(self) -> dict[str, Any]:  # Any: JSON
        """As the peers send it."""
        return {"probabilities": self.probabilities, "saliency": self.saliency.tolist()}


def read_film(data: bytes, decoder: str) -> Pixels:
    """PNG or JPEG bytes to grey pixels (H, W) uint8."""
    if decoder == PLAINFILM:
        return decode.read_pixels(data).pixels
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("L"))


def prepare(data: bytes, decoder: str, manifest: ModelManifest) -> FloatArray:
    """Bytes to the network's input (H, W, 1) float32."""
    return preprocess.preprocess(read_film(data, decoder), manifest.preprocessing, manifest.input_shape)


def open_engine(threads: int, *, has_map: bool = True, precision: Precision | None = None) -> Engine:
    """The OpenVINO graph of the shipped weights, with so many films at once; without maps they are constant.

    Args:
        precision: of the arithmetic; what plainfilm takes on this processor unless given.
    """
    from worker.engine import openvino_engine, openvino_network  # noqa: PLC0415  the tutorial design does without

    manifest = read_manifest(SHIPPED_MODEL)
    weights = load_weights(SHIPPED_MODEL, manifest)
    chosen = precision or usual_precision("openvino", manifest, weights)
    steps = openvino_engine.select_int8_rows(weights, chosen)
    network = openvino_network.build_network(weights, manifest.target_layer, manifest.gate_layer, steps)
    if not has_map:
        drop_map(network)
    compiled = openvino_network.compile_network(network, threads)
    return openvino_engine.OpenVinoEngine(manifest, compiled, weights.gate, chosen)


def drop_map(network: Any) -> None:  # Any: OpenVINO's models have no types
    """Let the graph's activation maps cost nothing: a constant takes their place."""
    from openvino import opset13 as ops  # noqa: PLC0415  the tutorial design does without

    labels = network.output(1).get_partial_shape()[1].get_length()
    network.get_results()[1].input(0).replace_source_output(
        ops.constant(np.zeros((1, labels, 1, 1), np.float32)).output(0)
    )


def classify(engine: Engine, x: FloatArray) -> list[Answer]:
    """Answers to inputs x: (N, H, W, 1) float32."""
    found = engine.infer(x)
    labels = engine.manifest.labels
    return [
        Answer(dict(zip(labels, map(float, row), strict=True)), saliency)
        for row, saliency in zip(found.probabilities, found.saliency, strict=True)
    ]


def conclude(logits: FloatArray, features: FloatArray, columns: FloatArray, manifest: ModelManifest) -> list[Answer]:
    """Probabilities and Grad-CAM from what a network gives for N films; no gradient is needed, as in `OpenVinoEngine`.

    Args:
        logits: (N, K) float32.
        features: (N, h, w, C) float32, what the last pooling takes.
        columns: (C, K) float32, the last layer's weights.
    """
    known = logits[:, : len(manifest.labels)]
    top = columns[:, known.argmax(axis=1)]
    maps = over_peak(np.maximum(np.einsum("nhwc,cn->nhw", features, top), 0))
    rows = calibrate(known, manifest.temperature)
    return [
        Answer(dict(zip(manifest.labels, map(float, row), strict=True)), saliency)
        for row, saliency in zip(rows, maps, strict=True)
    ]
