"""The engine on OpenVINO: probabilities and Grad-CAM in one call on the CPU, without TensorFlow.

Each film is computed alone, on one core, as many at once as there are streams: that takes the least CPU time a film
(DECISIONS 18), and a film's answer cannot depend on the other films of its batch. `openvino_network.py` builds the
network.

It serves networks that end, after Grad-CAM's target layer, in global pooling and one dense layer. There the gradient
of a label's logit is that label's column of weights, so Grad-CAM is the class activation map of Zhou et al. 2016 (arXiv
1512.04150) up to a factor that normalising removes. Equal to `keras_engine` within a tolerance that a test states.
"""

from __future__ import annotations

import os

import numpy as np
import openvino

from shared.arrays import FloatArray
from shared.errors import ManifestMismatch
from shared.manifest import ModelManifest
from shared.verdict import calibrate
from worker.engine.attribution import over_peak
from worker.engine.base import Inference, check_input
from worker.engine.choose import Precision
from worker.engine.gate import Gate
from worker.engine.openvino_network import NO_INT8_ROWS, Int8Rows, build_network, compile_network
from worker.engine.weights import Weights

FilmOutputs = list[tuple[FloatArray, ...]]
"""The network's outputs by film."""


class OpenVinoEngine:
    """An `Engine` on OpenVINO; build it with `build_engine`."""

    def __init__(
        self, manifest: ModelManifest, network: openvino.CompiledModel, gate: Gate | None, precision: Precision
    ) -> None:
        self._manifest = manifest
        self._precision = precision
        self._queue = openvino.AsyncInferQueue(network, network.get_property("NUM_STREAMS"))
        self._queue.set_callback(_store_outputs)
        self._single = network.create_infer_request()
        self._gate = gate

    @property
    def manifest(self) -> ModelManifest:
        """The manifest of the loaded weights."""
        return self._manifest

    @property
    def device(self) -> str:
        """Kind of device and build, e.g. 'cpu/openvino-2026.4.1', followed by ' int8' where it computes in int8."""
        return f"cpu/openvino-{openvino.__version__.split('-')[0]}{'' if self._precision == 'f32' else ' int8'}"

    def infer(self, x: FloatArray) -> Inference:
        """Return scores and Grad-CAM for x: (N, H, W, C) float32 in [0, 1], N >= 1.

        Raises:
            WrongShape: x is not of the manifest's input shape.
        """
        check_input(x, self._manifest.input_shape)
        logits, activations, early = self._compute(x)
        labels = len(self._manifest.labels)
        temperature = self._manifest.temperature
        nothing = np.zeros(len(x), np.float32)
        film, feature = self._gate.distances(early) if self._gate else (nothing, nothing)
        top = activations[np.arange(len(x)), logits[:, :labels].argmax(axis=1)]
        other = calibrate(logits, temperature)[:, labels:].sum(axis=1)
        return Inference(
            calibrate(logits[:, :labels], temperature), other, film, feature, over_peak(np.maximum(top, 0))
        )

    def _compute(self, x: FloatArray) -> tuple[FloatArray, ...]:
        """Return the network's three outputs, each (N, ...).

        A single film is computed in this thread, which saves waking another.
        """
        films = [np.ascontiguousarray(film[np.newaxis]) for film in x.transpose(0, 3, 1, 2)]
        outputs: FilmOutputs = [()] * len(films)
        if len(films) == 1:
            self._single.infer(films)
            _store_outputs(self._single, (outputs, 0))
            return outputs[0]
        try:
            for place, film in enumerate(films):
                self._queue.start_async([film], (outputs, place))
        finally:
            self._queue.wait_all()
        return tuple(np.concatenate(parts) for parts in zip(*outputs, strict=True))


def _store_outputs(request: openvino.InferRequest, place: tuple[FilmOutputs, int]) -> None:
    """Copy a film's outputs to its place in the list; called in one of OpenVINO's threads."""
    outputs, index = place
    outputs[index] = tuple(np.array(tensor.data) for tensor in request.output_tensors)


def build_engine(
    manifest: ModelManifest, weights: Weights, threads: int | None = None, precision: Precision = "f32"
) -> OpenVinoEngine:
    """Return the engine of weights that are already checked.

    Args:
        threads: films computed at once, each on one core; by default as many as this process may use cores.

    Raises:
        ManifestMismatch: the network does not end as this engine needs it, or cannot be computed in that precision.
    """
    streams = threads or len(os.sched_getaffinity(0))
    int8_rows = select_int8_rows(weights, precision)
    network = build_network(weights, manifest.target_layer, manifest.gate_layer, int8_rows)
    return OpenVinoEngine(manifest, compile_network(network, streams), weights.gate, precision)


def select_int8_rows(weights: Weights, precision: Precision) -> Int8Rows:
    """Return the rows that are computed in eight bits: none in float32.

    Raises:
        ManifestMismatch: this engine does not compute in that precision, or the model was not quantized.
    """
    if precision == "f32":
        return NO_INT8_ROWS
    if precision == "int8" and weights.int8:
        return weights.int8
    why = "the model was not quantized" if precision == "int8" else "OpenVINO serves in f32 or int8"
    raise ManifestMismatch(f"This model cannot be computed in {precision}: {why}.")
