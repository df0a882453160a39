"""The table and its arrays as an OpenVINO network on the CPU: probabilities and Grad-CAM in one call, no TensorFlow.

Each film is computed alone, on one core, as many at once as there are streams: that takes the least CPU a film
(DECISIONS 18), and a film's answer cannot depend on its neighbours in the batch. In bfloat16 the network is two, one
after the other: its first rows stay in float32 (DECISIONS 43).

For networks that end, after Grad-CAM's row, in global pooling and one dense layer: there the gradient of a label's
logit is that label's column of weights, so Grad-CAM is the class activation map of Zhou et al. 2016 (arXiv 1512.04150)
up to a factor that normalising takes away. Equal to `keras_engine` within a tolerance that a test states.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import openvino
from openvino import opset13 as ops

from shared.arrays import FloatArray
from shared.errors import ManifestMismatch
from shared.manifest import ModelManifest
from shared.verdict import calibrate
from worker.engine import layers as rows
from worker.engine.architecture import Architecture, float32_rows
from worker.engine.attribution import over_peak
from worker.engine.base import Inference, check_input
from worker.engine.choose import Precision, ends_pooled
from worker.engine.gate import GRID, Gate
from worker.engine.weights import Weights

Node = Any  # OpenVINO's nodes have no public type
Arrays = Mapping[str, FloatArray]
Found = list[tuple[FloatArray, ...]]
"""The network's outputs by film."""

ZEROS: Final = [0, 0]
ONES: Final = [1, 1]


class OpenVinoEngine:
    """An `Engine` on OpenVINO; build it with `build_engine`."""

    def __init__(
        self, manifest: ModelManifest, parts: Sequence[openvino.CompiledModel], gate: Gate | None, streams: int
    ) -> None:
        self._is_coarse = parts[-1].get_property("INFERENCE_PRECISION_HINT") == openvino.Type.bf16
        self._manifest = manifest
        self._queues = [openvino.AsyncInferQueue(part, streams) for part in parts]
        for queue in self._queues:
            queue.set_callback(_keep)
        self._gate = gate

    @property
    def manifest(self) -> ModelManifest:
        """What the loaded weights promise."""
        return self._manifest

    @property
    def device(self) -> str:
        """Kind of device and build, e.g. 'cpu/openvino-2026.4.1'."""
        return f"cpu/openvino-{openvino.__version__.split('-')[0]}{' bf16' if self._is_coarse else ''}"

    def infer(self, x: FloatArray) -> Inference:
        """Scores and Grad-CAM for x: (N, H, W, C) float32 in [0, 1], N >= 1.

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
        """The network's three outputs, each (N, ...)."""
        found: Found = [(film[np.newaxis],) for film in x.transpose(0, 3, 1, 2)]
        for queue in self._queues:
            found = _through(queue, found)
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def _through(queue: openvino.AsyncInferQueue, films: Found) -> Found:
    """What a part of the network makes of each film's first array, (1, ...)."""
    found: Found = [()] * len(films)
    try:
        for place, (values, *_) in enumerate(films):
            queue.start_async([np.ascontiguousarray(values)], (found, place))
    finally:
        queue.wait_all()
    return found


def _keep(request: openvino.InferRequest, place: tuple[Found, int]) -> None:
    """Copy a film's outputs to its place; called in a thread of OpenVINO's."""
    found, index = place
    found[index] = tuple(np.array(tensor.data) for tensor in request.output_tensors)


def build_engine(
    manifest: ModelManifest, weights: Weights, threads: int | None = None, precision: Precision = "f32"
) -> OpenVinoEngine:
    """The engine of weights that are already checked.

    Args:
        threads: films computed at once, each on one core; as many as this process has cores unless given.

    Raises:
        ManifestMismatch: the network does not end as this engine needs it.
    """
    streams = threads or len(os.sched_getaffinity(0))
    parts = build_parts(weights.architecture, weights.arrays, manifest.target_layer, manifest.gate_layer, precision)
    compiled = [compile_network(network, streams, arithmetic) for network, arithmetic in parts]
    return OpenVinoEngine(manifest, compiled, weights.gate, streams)


def computes_bf16() -> bool:
    """Whether this processor computes in bfloat16 by itself, and so faster than in float32."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def compile_network(network: openvino.Model, streams: int, precision: Precision) -> openvino.CompiledModel:
    """The network made ready for the CPU: so many films at once, each on one core."""
    hints = {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": str(streams),
    }
    return openvino.Core().compile_model(network, "CPU", hints)


def build_parts(
    architecture: Architecture, arrays: Arrays, target_layer: str, gate_layer: str | None, precision: Precision
) -> list[tuple[openvino.Model, Precision]]:
    """The network as what is computed one after the other, each with its precision; the first output goes on.

    Input (1, C, H, W); of the last part logits (1, K), activation maps (1, K, h, w), the gate's features (1, D or 0).

    Raises:
        ManifestMismatch: the network does not end as this engine needs it.
    """
    if not ends_pooled(architecture, target_layer):
        message = f"OpenVINO serves networks that end in pooling and one dense layer; '{architecture.name}' does not."
        raise ManifestMismatch(message)
    height, width, channels = architecture.input_shape
    entry, above = ops.parameter([1, channels, height, width], np.float32, name="film"), "input"
    first = float32_rows(architecture, target_layer, gate_layer) if precision == "bf16" else 0
    parts: list[tuple[openvino.Model, Precision]] = []
    if first:
        above = architecture.layers[first - 1].name
        seen = _connect(architecture.layers[:first], entry, "input", arrays)[above]
        parts.append((openvino.Model([seen], [entry], f"{architecture.name} in float32"), "f32"))
        entry = ops.parameter(parts[0][0].output(0).get_shape(), np.float32, name=above)
    nodes = _connect(architecture.layers[first:], entry, above, arrays)
    logits = nodes[architecture.layers[-1].name]
    columns = arrays[f"{architecture.layers[-1].name}.kernel"]
    activations = _convolve(nodes[target_layer], columns[np.newaxis, np.newaxis], 1, "valid")
    early = _pooled(nodes[gate_layer]) if gate_layer else ops.reshape(logits, [-1, columns.shape[1]], False)
    return [*parts, (openvino.Model([logits, activations, early], [entry], architecture.name), precision)]


def _connect(table: Sequence[rows.Layer], entry: Node, entry_name: str, arrays: Arrays) -> dict[str, Node]:
    """Every row's node, by name."""
    nodes, above = {entry_name: entry}, entry
    for layer in table:
        above = ops.add(above, nodes[layer.other]) if isinstance(layer, rows.Add) else make_node(layer, above, arrays)
        nodes[layer.name] = above
    return nodes


def make_node(layer: rows.Layer, above: Node, arrays: Arrays) -> Node:
    """The node of one row; `Add` takes two and is `_connect`'s."""
    return _MAKERS[type(layer)](layer, above, arrays)


def _pooled(row: Node) -> Node:
    """Means over the gate's grid, (N, C, h, w) to (N, 4 * C), in the order of `gate.pool`."""
    _, channels, height, width = (side.get_max_length() for side in row.get_output_partial_shape(0))
    cell = [height // GRID, width // GRID]
    means = ops.avg_pool(row, cell, ZEROS, ZEROS, cell, True, "floor", "valid")
    return ops.reshape(ops.transpose(means, [0, 2, 3, 1]), [-1, GRID * GRID * channels], False)


def _convolve(above: Node, kernel: FloatArray, stride: int, padding: str) -> Node:
    """Kernel (k, k, in, out); 'same' is TensorFlow's, the odd pixel last, which OpenVINO calls 'same_upper'."""
    weights = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
    pad = "same_upper" if padding == "same" else "valid"
    return ops.convolution(above, weights, [stride, stride], ZEROS, ZEROS, ONES, pad)


def _conv(layer: rows.Conv, above: Node, arrays: Arrays) -> Node:
    node = _convolve(above, arrays[f"{layer.name}.kernel"], layer.stride, layer.padding)
    return _biased(layer, node, arrays)


def _depthwise(layer: rows.Depthwise, above: Node, arrays: Arrays) -> Node:
    """Kernel (k, k, C, 1) to groups (C, 1, 1, k, k)."""
    weights = np.ascontiguousarray(arrays[f"{layer.name}.kernel"].transpose(2, 3, 0, 1)[:, :, np.newaxis])
    stride = [layer.stride, layer.stride]
    return _biased(layer, ops.group_convolution(above, weights, stride, ZEROS, ZEROS, ONES, "same_upper"), arrays)


def _biased(layer: rows.Conv | rows.Depthwise, node: Node, arrays: Arrays) -> Node:
    return ops.add(node, _channels(arrays[f"{layer.name}.bias"])) if layer.has_bias else node


def _channels(values: FloatArray) -> FloatArray:
    return np.ascontiguousarray(values.reshape(1, -1, 1, 1))


def _affine(layer: rows.Affine, above: Node, arrays: Arrays) -> Node:
    scaled = ops.multiply(above, _channels(arrays[f"{layer.name}.scale"]))
    return ops.add(scaled, _channels(arrays[f"{layer.name}.offset"]))


def _relu(layer: rows.Relu, above: Node, _arrays: Arrays) -> Node:
    return ops.relu(above) if layer.ceiling is None else ops.clamp(above, 0.0, layer.ceiling)


def _rescale(layer: rows.Rescale, above: Node, _arrays: Arrays) -> Node:
    return ops.add(ops.multiply(above, np.float32(layer.scale)), np.float32(layer.offset))


def _max_pool(layer: rows.MaxPool, above: Node, _arrays: Arrays) -> Node:
    size = [layer.size, layer.size]
    return ops.max_pool(above, size, ONES, ZEROS, ZEROS, size, "floor", "valid").output(0)


def _dense(layer: rows.Dense, above: Node, arrays: Arrays) -> Node:
    node = ops.matmul(above, arrays[f"{layer.name}.kernel"], False, False)
    return ops.add(node, arrays[f"{layer.name}.bias"]) if layer.has_bias else node


_MAKERS: Final[Mapping[type, Callable[[Any, Node, Arrays], Node]]] = MappingProxyType(  # Any: each takes its own row
    {
        rows.Rescale: _rescale,
        rows.Repeat: lambda row, above, _: ops.concat([above] * row.channels, 1),
        rows.Conv: _conv,
        rows.Depthwise: _depthwise,
        rows.Affine: _affine,
        rows.Relu: _relu,
        rows.MaxPool: _max_pool,
        rows.GlobalPool: lambda _row, above, _: ops.reduce_mean(above, [2, 3], False),
        rows.Dense: _dense,
    }
)
