"""The table and its arrays as an OpenVINO network: logits, class activation maps and the gate's features in one graph.

In int8 a quantized row's input is rounded to one of 256 values and its weights are integers; all else stays in float32
(DECISIONS 52). Called by `openvino_engine.py` to serve, and by `training/quantize.py`, which runs parts of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import openvino
from openvino import opset13 as ops

from shared.arrays import FloatArray
from shared.errors import ManifestMismatch
from worker.engine import layers as rows
from worker.engine.architecture import Architecture
from worker.engine.choose import ends_pooled
from worker.engine.gate import GRID
from worker.engine.int8 import STEPS, Int8Row
from worker.engine.weights import Weights

Node = Any  # OpenVINO's nodes have no public type
Arrays = Mapping[str, FloatArray]
Array = npt.NDArray[Any]  # Any: float32 or int8
Int8Rows = Mapping[str, Int8Row]
"""The rows that are computed in eight bits, by name."""

NO_INT8_ROWS: Final[Int8Rows] = MappingProxyType({})
ZEROS: Final = [0, 0]
ONES: Final = [1, 1]


def compile_network(network: openvino.Model, streams: int) -> openvino.CompiledModel:
    """Return the network compiled for the CPU, for `streams` films at once, each on one core.

    Rows that are not quantized are computed in float32: on some processors OpenVINO would choose bfloat16.
    """
    hints = {
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": str(streams),
    }
    return openvino.Core().compile_model(network, "CPU", hints)


def build_network(
    weights: Weights, target_layer: str, gate_layer: str | None, int8_rows: Int8Rows = NO_INT8_ROWS
) -> openvino.Model:
    """Return the network: input (1, C, H, W); logits (1, K), activation maps (1, K, h, w), gate's features (1, D or 0).

    Args:
        int8_rows: the rows that are computed in eight bits.

    Raises:
        ManifestMismatch: the network does not end in pooling and one dense layer.
    """
    architecture, arrays = weights.architecture, weights.arrays
    if not ends_pooled(architecture, target_layer):
        message = f"OpenVINO serves networks that end in pooling and one dense layer; '{architecture.name}' does not."
        raise ManifestMismatch(message)
    entry, nodes = connect(architecture, arrays, int8_rows)
    logits = nodes[architecture.layers[-1].name]
    columns = arrays[f"{architecture.layers[-1].name}.kernel"]
    maps = rows.Conv("maps", columns.shape[1], kernel=1)
    activations = _convolve(maps, nodes[target_layer], _outputs_first(maps, columns[np.newaxis, np.newaxis]))
    early = _pooled(nodes[gate_layer]) if gate_layer else ops.reshape(logits, [-1, columns.shape[1]], False)
    return openvino.Model([logits, activations, early], [entry], architecture.name)


def connect(architecture: Architecture, arrays: Arrays, int8_rows: Int8Rows) -> tuple[Node, dict[str, Node]]:
    """Return the network's input (1, C, H, W), and every row's node by name."""
    height, width, channels = architecture.input_shape
    entry = above = ops.parameter([1, channels, height, width], np.float32, name="film")
    nodes: dict[str, Node] = {}
    for layer in architecture.layers:
        if isinstance(layer, rows.Add):
            above = ops.add(above, nodes[layer.other])
        elif isinstance(layer, (rows.Conv, rows.Depthwise)) and layer.name in int8_rows:
            above = _quantized(layer, above, int8_rows[layer.name])
        else:
            above = make_node(layer, above, arrays)
        nodes[layer.name] = above
    return entry, nodes


def _quantized(layer: rows.Conv | rows.Depthwise, above: Node, row: Int8Row) -> Node:
    """Return a convolution in the form that OpenVINO computes in integers: quantized input, int8 weights and scale."""
    quantized = _quantize_input(above, row)
    integers = _outputs_first(layer, row.kernel)
    scale = row.scale.reshape(-1, *[1] * (integers.ndim - 1))
    kernel = ops.multiply(ops.convert(ops.constant(integers), np.float32), ops.constant(scale))
    return ops.add(_convolve(layer, quantized, kernel), _channels(row.bias))


def _quantize_input(above: Node, row: Int8Row) -> Node:
    """Return the values rounded to 256 steps from the row's low to its high."""
    limits = np.float32(row.low), np.float32(row.high)
    return ops.fake_quantize(above, *limits, *limits, STEPS)


def make_node(layer: rows.Layer, above: Node, arrays: Arrays) -> Node:
    """Return the node of one row; `Add` takes two inputs and is made by `connect`."""
    return _MAKERS[type(layer)](layer, above, arrays)


def _pooled(row: Node) -> Node:
    """Return the means over the gate's grid, (N, C, h, w) to (N, 4 * C), in the order of `gate.pool`."""
    _, channels, height, width = (side.get_max_length() for side in row.get_output_partial_shape(0))
    cell = [height // GRID, width // GRID]
    means = ops.avg_pool(row, cell, ZEROS, ZEROS, cell, True, "floor", "valid")
    return ops.reshape(ops.transpose(means, [0, 2, 3, 1]), [-1, GRID * GRID * channels], False)


def _convolution(layer: rows.Conv | rows.Depthwise, above: Node, arrays: Arrays) -> Node:
    kernel = _outputs_first(layer, arrays[f"{layer.name}.kernel"])
    return _biased(layer, _convolve(layer, above, kernel), arrays)


def _convolve(layer: rows.Conv | rows.Depthwise, above: Node, kernel: Node) -> Node:
    """Return the convolution with a kernel as returned by `_outputs_first`.

    Padding 'same' is TensorFlow's, which puts the odd pixel last: OpenVINO's 'same_upper'.
    """
    stride = [layer.stride, layer.stride]
    if isinstance(layer, rows.Depthwise):
        return ops.group_convolution(above, kernel, stride, ZEROS, ZEROS, ONES, "same_upper")
    pad = "same_upper" if layer.padding == "same" else "valid"
    return ops.convolution(above, kernel, stride, ZEROS, ZEROS, ONES, pad)


def _outputs_first(layer: rows.Conv | rows.Depthwise, kernel: Array) -> Array:
    """Return kernel (k, k, in, out) as (out, in, k, k); a depthwise row's, (k, k, C, 1), as groups (C, 1, 1, k, k)."""
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
