"""The table and its arrays as an OpenVINO network on the CPU: probabilities and Grad-CAM in one call, no TensorFlow.

Each film is computed alone, on one core, as many at once as there are streams: that takes the least CPU a film
(DECISIONS 18), and a film's answer cannot depend on its neighbours in the batch. In int8 a quantized row's input is
told apart in 256 steps and its weights are integers; all else stays in float32 (DECISIONS 52).

For networks that end, after Grad-CAM's row, in global pooling and one dense layer: there the gradient of a label's
logit is that label's column of weights, so Grad-CAM is the class activation map of Zhou et al. 2016 (arXiv 1512.04150)
up to a factor that normalising takes away. Equal to `keras_engine` within a tolerance that a test states.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import openvino
from openvino import opset13 as ops

from shared.arrays import FloatArray
from shared.errors import ManifestMismatch
from shared.manifest import ModelManifest
from shared.verdict import calibrate
from worker.engine import layers as rows
from worker.engine.architecture import Architecture
from worker.engine.attribution import over_peak
from worker.engine.base import Inference, check_input
from worker.engine.choose import Precision, ends_pooled
from worker.engine.gate import GRID, Gate
from worker.engine.int8 import STEPS, Int8Row
from worker.engine.weights import Weights

Node = Any  # OpenVINO's nodes have no public type
Arrays = Mapping[str, FloatArray]
Array = npt.NDArray[Any]  # Any: float32 or int8
Steps = Mapping[str, Int8Row]
"""The rows that are computed in eight bits, by name."""
Found = list[tuple[FloatArray, ...]]
"""The network's outputs by film."""

NO_STEPS: Final[Steps] = MappingProxyType({})
ZEROS: Final = [0, 0]
ONES: Final = [1, 1]


class OpenVinoEngine:
    """An `Engine` on OpenVINO; build it with `build_engine`."""

    def __init__(
        self, manifest: ModelManifest, network: openvino.CompiledModel, gate: Gate | None, precision: Precision
    ) -> None:
        self._manifest = manifest
        self._precision = precision
        self._queue = openvino.AsyncInferQueue(network, network.get_property("NUM_STREAMS"))
        self._queue.set_callback(_keep)
        self._alone = network.create_infer_request()
        self._gate = gate

    @property
    def manifest(self) -> ModelManifest:
        """What the loaded weights promise."""
        return self._manifest

    @property
    def device(self) -> str:
        """Kind of device and build, e.g. 'cpu/openvino-2026.4.1'; and ' int8' where that is its arithmetic."""
        return f"cpu/openvino-{openvino.__version__.split('-')[0]}{'' if self._precision == 'f32' else ' int8'}"

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
        """The network's three outputs, each (N, ...); a lone film's in this thread, which spares waking another."""
        films = [np.ascontiguousarray(film[np.newaxis]) for film in x.transpose(0, 3, 1, 2)]
        found: Found = [()] * len(films)
        if len(films) == 1:
            self._alone.infer(films)
            _keep(self._alone, (found, 0))
            return found[0]
        try:
            for place, film in enumerate(films):
                self._queue.start_async([film], (found, place))
        finally:
            self._queue.wait_all()
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


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
        ManifestMismatch: the network does not end as this engine needs it, or has not that arithmetic.
    """
    streams = threads or len(os.sched_getaffinity(0))
    steps = steps_of(weights, precision)
    network = build_network(weights, manifest.target_layer, manifest.gate_layer, steps)
    return OpenVinoEngine(manifest, compile_network(network, streams), weights.gate, precision)


def steps_of(weights: Weights, precision: Precision) -> Steps:
    """The rows that are computed in eight bits: none in float32.

    Raises:
        ManifestMismatch: this engine has not that arithmetic, or the model not what it takes.
    """
    if precision == "f32":
        return NO_STEPS
    if precision == "int8" and weights.int8:
        return weights.int8
    why = "the model was not quantized" if precision == "int8" else "OpenVINO serves in f32 or int8"
    raise ManifestMismatch(f"This model cannot be computed in {precision}: {why}.")


def compile_network(network: openvino.Model, streams: int) -> openvino.CompiledModel:
    """The network made ready for the CPU: so many films at once, each on one core.

    What is not quantized is computed in float32: OpenVINO would choose bfloat16 by itself on some processors.
    """
    hints = {
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": str(streams),
    }
    return openvino.Core().compile_model(network, "CPU", hints)


def build_network(
    weights: Weights, target_layer: str, gate_layer: str | None, steps: Steps = NO_STEPS
) -> openvino.Model:
    """The network: input (1, C, H, W), logits (1, K), activation maps (1, K, h, w), gate's features (1, D or 0).

    Args:
        steps: the rows that are computed in eight bits.

    Raises:
        ManifestMismatch: the network does not end as this engine needs it.
    """
    architecture, arrays = weights.architecture, weights.arrays
    if not ends_pooled(architecture, target_layer):
        message = f"OpenVINO serves networks that end in pooling and one dense layer; '{architecture.name}' does not."
        raise ManifestMismatch(message)
    entry, nodes = connect(architecture, arrays, steps)
    logits = nodes[architecture.layers[-1].name]
    columns = arrays[f"{architecture.layers[-1].name}.kernel"]
    maps = rows.Conv("maps", columns.shape[1], kernel=1)
    activations = _convolve(maps, nodes[target_layer], _outputs_first(maps, columns[np.newaxis, np.newaxis]))
    early = _pooled(nodes[gate_layer]) if gate_layer else ops.reshape(logits, [-1, columns.shape[1]], False)
    return openvino.Model([logits, activations, early], [entry], architecture.name)


def connect(architecture: Architecture, arrays: Arrays, steps: Steps) -> tuple[Node, dict[str, Node]]:
    """The network's input (1, C, H, W), and every row's node by name."""
    height, width, channels = architecture.input_shape
    entry = above = ops.parameter([1, channels, height, width], np.float32, name="film")
    nodes: dict[str, Node] = {}
    for layer in architecture.layers:
        if isinstance(layer, rows.Add):
            above = ops.add(above, nodes[layer.other])
        elif isinstance(layer, (rows.Conv, rows.Depthwise)) and layer.name in steps:
            above = _quantized(layer, above, steps[layer.name])
        else:
            above = make_node(layer, above, arrays)
        nodes[layer.name] = above
    return entry, nodes


def _quantized(layer: rows.Conv | rows.Depthwise, above: Node, row: Int8Row) -> Node:
    """A convolution of integers, as OpenVINO recognises one: of a stepped input and of weights that are stored so."""
    stepped = _in_steps(above, row)
    integers = _outputs_first(layer, row.kernel)
    scale = row.scale.reshape(-1, *[1] * (integers.ndim - 1))
    kernel = ops.multiply(ops.convert(ops.constant(integers), np.float32), ops.constant(scale))
    return ops.add(_convolve(layer, stepped, kernel), _channels(row.bias))


def _in_steps(above: Node, row: Int8Row) -> Node:
    """The values in 256 steps from the row's low to its high."""
    limits = np.float32(row.low), np.float32(row.high)
    return ops.fake_quantize(above, *limits, *limits, STEPS)


def make_node(layer: rows.Layer, above: Node, arrays: Arrays) -> Node:
    """The node of one row; `Add` takes two and is `connect`'s."""
    return _MAKERS[type(layer)](layer, above, arrays)


def _pooled(row: Node) -> Node:
    """Means over the gate's grid, (N, C, h, w) to (N, 4 * C), in the order of `gate.pool`."""
    _, channels, height, width = (side.get_max_length() for side in row.get_output_partial_shape(0))
    cell = [height // GRID, width // GRID]
    means = ops.avg_pool(row, cell, ZEROS, ZEROS, cell, True, "floor", "valid")
    return ops.reshape(ops.transpose(means, [0, 2, 3, 1]), [-1, GRID * GRID * channels], False)


def _convolution(layer: rows.Conv | rows.Depthwise, above: Node, arrays: Arrays) -> Node:
    kernel = _outputs_first(layer, arrays[f"{layer.name}.kernel"])
    return _biased(layer, _convolve(layer, above, kernel), arrays)


def _convolve(layer: rows.Conv | rows.Depthwise, above: Node, kernel: Node) -> Node:
    """Of a kernel as `_outputs_first` gives it; 'same' is TensorFlow's: the odd pixel last, OpenVINO's 'same_upper'."""
    stride = [layer.stride, layer.stride]
    if isinstance(layer, rows.Depthwise):
        return ops.group_convolution(above, kernel, stride, ZEROS, ZEROS, ONES, "same_upper")
    pad = "same_upper" if layer.padding == "same" else "valid"
    return ops.convolution(above, kernel, stride, ZEROS, ZEROS, ONES, pad)


def _outputs_first(layer: rows.Conv | rows.Depthwise, kernel: Array) -> Array:
    """Kernel (k, k, in, out) to (out, in, k, k); that of a depthwise row, (k, k, C, 1), to groups (C, 1, 1, k, k)."""
    if isinstance(layer, rows.Depthwise):
        return np.ascontiguousarray(kernel.transpose(2, 3, 0, 1)[:, :, np.newaxis])
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))


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
        rows.Conv: _convolution,
        rows.Depthwise: _convolution,
        rows.Affine: _affine,
        rows.Relu: _relu,
        rows.MaxPool: _max_pool,
        rows.GlobalPool: lambda _row, above, _: ops.reduce_mean(above, [2, 3], False),
        rows.Dense: _dense,
    }
)
