"""The table and its arrays as a Keras network in one traced function: probabilities and Grad-CAM together.

With `saliency.py` and `keras_explainer.py` the only serving files that import TensorFlow. `build_halves` and
`build_whole` also build the trainable network (BatchNorm and Dropout included), so that both are one reading of one
table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from shared.arrays import FloatArray
from shared.errors import ManifestMismatch
from shared.manifest import ModelManifest, read_manifest
from worker.engine import layers as rows
from worker.engine.architecture import Architecture, array_shapes, float32_rows
from worker.engine.base import Inference, check_input
from worker.engine.choose import GPU_BATCH, Precision
from worker.engine.gate import Gate, pool
from worker.engine.saliency import grad_cam
from worker.engine.weights import Weights, load_weights

POLICIES: Final[Mapping[Precision, str]] = MappingProxyType({"f32": "float32", "bf16": "mixed_bfloat16"})
"""Keras's names."""

Tensors = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
Traced = Callable[[tf.Tensor], Tensors]
"""Inputs (N, H, W, C) to probabilities (N, K), other (N,), saliency (N, h, w), the gate's row (N, h', w', C')."""


class KerasEngine:
    """An `Engine` on TensorFlow; build it with `load_engine`."""

    def __init__(
        self, manifest: ModelManifest, traced: Traced, gate: Gate | None, device: str, *, fills_up: bool = False
    ) -> None:
        """Fills batches up where `fills_up` is set: see `fill_up`."""
        self._manifest = manifest
        self._traced = traced
        self._gate = gate
        self._device = device
        self._fills_up = fills_up

    @property
    def manifest(self) -> ModelManifest:
        """What the loaded weights promise."""
        return self._manifest

    @property
    def device(self) -> str:
        """Kind of device and build, e.g. 'cpu/tensorflow-2.21.0'."""
        return self._device

    def infer(self, x: FloatArray) -> Inference:
        """Scores and Grad-CAM for x: (N, H, W, C) float32 in [0, 1], N >= 1.

        Raises:
            WrongShape: x is not of the manifest's input shape.
        """
        check_input(x, self._manifest.input_shape)
        films = tf.constant(fill_up(x) if self._fills_up else x)
        probabilities, other, saliency, early = (tensor.numpy()[: len(x)] for tensor in self._traced(films))
        nothing = np.zeros(len(x), np.float32)
        film, feature = self._gate.distances(pool(early)) if self._gate else (nothing, nothing)
        return Inference(probabilities, other, film, feature, saliency)


def load_engine(folder: Path) -> KerasEngine:
    """Read, verify, build, trace and warm the model in `folder`.

    Raises:
        ModelProblem: ManifestMismatch, BadChecksum or WrongShape; see `weights.load_weights`.
    """
    manifest = read_manifest(folder)
    return build_engine(manifest, load_weights(folder, manifest))


def build_engine(
    manifest: ModelManifest, weights: Weights, threads: int | None = None, precision: Precision = "f32"
) -> KerasEngine:
    """The engine of weights that are already checked.

    Args:
        threads: cores that TensorFlow computes on; its own choice unless given, which only a process can make that
            has not used TensorFlow yet.

    Raises:
        ManifestMismatch: it has not that arithmetic.
    """
    if precision not in POLICIES:
        raise ManifestMismatch(f"This model cannot be computed in {precision}: TensorFlow serves in f32 or bf16.")
    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    device = claim_device() + (" bf16" if precision == "bf16" else "")
    trunk, head = build_halves(weights.architecture, manifest.target_layer, precision)
    set_arrays((trunk, head), weights.architecture, weights.arrays)
    is_gpu = device.startswith("gpu/")
    engine = KerasEngine(manifest, _trace(trunk, head, manifest), weights.gate, device, fills_up=is_gpu)
    for films in _sizes(GPU_BATCH if is_gpu else 1):
        engine.infer(np.zeros((films, *manifest.input_shape), np.float32))
    return engine


def fill_up(x: FloatArray) -> FloatArray:
    """A batch (N, H, W, C) with black films behind it up to the next power of two.

    cuDNN looks for its algorithms anew for every size of batch that it meets, which took an H200 .35 s in float32 and
    4.7 s in bfloat16.
    """
    missing = (1 << (len(x) - 1).bit_length()) - len(x)
    return np.concatenate([x, np.zeros((missing, *x.shape[1:]), x.dtype)]) if missing else x


def _sizes(most: int) -> Iterator[int]:
    """The powers of two up to `most`."""
    return (1 << power for power in range(most.bit_length()))


def claim_device() -> str:
    """Take GPU memory as it is needed, not all at once, and compute float32 in full, not as TF32; name the device."""
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        if not tf.config.experimental.get_memory_growth(gpu):
            tf.config.experimental.set_memory_growth(gpu, True)
    if gpus:
        tf.config.experimental.enable_tensor_float_32_execution(False)
    return f"{'gpu' if gpus else 'cpu'}/tensorflow-{tf.__version__}"


def _trace(trunk: keras.Model, head: keras.Model, manifest: ModelManifest) -> Traced:
    """One graph with its weights as constants (a quarter to a third less CPU than as variables)."""
    early, labels = manifest.gate_layer, len(manifest.labels)
    both = keras.Model(trunk.input, [trunk.output, trunk.get_layer(early).output if early else trunk.input])

    def infer(x: tf.Tensor) -> Tensors:
        features, seen = both(x, training=False)
        logits, saliency = grad_cam(lambda rows: head(rows, training=False), features, labels)
        logits, saliency, seen = (tf.cast(tensor, tf.float32) for tensor in (logits, saliency, seen))
        scaled = logits / manifest.temperature
        other = tf.reduce_sum(tf.nn.softmax(scaled)[:, labels:], axis=1)
        return tf.nn.softmax(scaled[:, :labels]), other, saliency, seen if early else seen[:, :0]

    signature = [tf.TensorSpec((None, *manifest.input_shape), tf.float32)]
    traced = tf.function(infer, input_signature=signature, autograph=False).get_concrete_function()
    frozen = convert_variables_to_constants_v2(traced)

    def call(x: tf.Tensor) -> Tensors:
        probabilities, other, saliency, seen = frozen(x)
        return probabilities, other, saliency, seen

    return call


def build_halves(architecture: Architecture, cut: str, precision: Precision = "f32") -> tuple[keras.Model, keras.Model]:
    """The network in two: input to the row named `cut`, and from there to the logits.

    Args:
        precision: of the arithmetic; in bf16 the first rows stay in float32, as the architecture says.

    Raises:
        ManifestMismatch: no such row, or a later row refers across the cut.
    """
    names = [layer.name for layer in architecture.layers]
    if cut not in names:
        message = f"'{architecture.name}' has no layer '{cut}'."
        raise ManifestMismatch(message)
    place = names.index(cut) + 1
    policies = _policies(architecture, precision)
    trunk = _connect(architecture.layers[:place], keras.Input(architecture.input_shape), "input", policies)
    head = _connect(architecture.layers[place:], keras.Input(trunk.output.shape[1:]), cut, policies)
    return trunk, head


def build_whole(architecture: Architecture) -> keras.Model:
    """The network in one: input (N, H, W, 1) in [0, 1] to logits (N, K)."""
    return _connect(architecture.layers, keras.Input(architecture.input_shape), "input", _policies(architecture))


def _policies(architecture: Architecture, precision: Precision = "f32") -> dict[str, str]:
    """Row to Keras's name of its arithmetic."""
    first = architecture.layers[: float32_rows(architecture)]
    chosen = dict.fromkeys((layer.name for layer in architecture.layers), POLICIES[precision])
    return chosen | dict.fromkeys((layer.name for layer in first), POLICIES["f32"])


def _connect(
    table: Sequence[rows.Layer], entry: keras.KerasTensor, entry_name: str, policies: Mapping[str, str]
) -> keras.Model:
    tensors = {entry_name: entry}
    above = entry
    for layer in table:
        made = make_layer(layer)
        made.dtype_policy = policies[layer.name]
        if not isinstance(layer, rows.Add):
            above = made(above)
        elif layer.other in tensors:
            above = made([above, tensors[layer.other]])
        else:
            message = f"The network cannot be cut at '{entry_name}': '{layer.name}' needs '{layer.other}'."
            raise ManifestMismatch(message)
        tensors[layer.name] = above
    return keras.Model(entry, above)


def make_layer(layer: rows.Layer) -> keras.layers.Layer:
    """The Keras layer of one row; that of `Add` takes two inputs."""
    return _MAKERS[type(layer)](layer)


class _RepeatChannels(keras.layers.Layer):
    def __init__(self, channels: int, name: str) -> None:
        super().__init__(name=name)
        self.channels = channels

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return keras.ops.repeat(x, self.channels, axis=-1)


class _ChannelAffine(keras.layers.Layer):
    def build(self, shape: tuple[int | None, ...]) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")
        self.offset = self.add_weight(shape=(shape[-1],), initializer="zeros", name="offset")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x * self.scale + self.offset


_MAKERS: Final[Mapping[type, Callable[[Any], keras.layers.Layer]]] = MappingProxyType(  # Any: each takes its own row
    {
        rows.Rescale: lambda row: keras.layers.Rescaling(row.scale, row.offset, name=row.name),
        rows.Repeat: lambda row: _RepeatChannels(row.channels, row.name),
        rows.Add: lambda row: keras.layers.Add(name=row.name),
        rows.Conv: lambda row: keras.layers.Conv2D(
            row.filters, row.kernel, row.stride, row.padding, use_bias=row.has_bias, name=row.name
        ),
        rows.Depthwise: lambda row: keras.layers.DepthwiseConv2D(
            row.kernel, row.stride, "same", use_bias=row.has_bias, name=row.name
        ),
        rows.BatchNorm: lambda row: keras.layers.BatchNormalization(
            momentum=row.momentum, epsilon=row.epsilon, name=row.name
        ),
        rows.Affine: lambda row: _ChannelAffine(name=row.name),
        rows.Relu: lambda row: keras.layers.ReLU(row.ceiling, name=row.name),
        rows.MaxPool: lambda row: keras.layers.MaxPooling2D(row.size, name=row.name),
        rows.GlobalPool: lambda row: keras.layers.GlobalAveragePooling2D(name=row.name),
        rows.Flatten: lambda row: keras.layers.Flatten(name=row.name),
        rows.Dropout: lambda row: keras.layers.Dropout(row.rate, name=row.name),
        rows.Dense: lambda row: keras.layers.Dense(row.units, use_bias=row.has_bias, name=row.name),
    }
)


def set_arrays(models: Sequence[keras.Model], architecture: Architecture, arrays: Mapping[str, FloatArray]) -> None:
    """Write the named arrays into the layers of `models` that bear their names."""
    for model, layer, names in _weighted(models, architecture):
        model.get_layer(layer).set_weights([arrays[name] for name in names])


def get_arrays(models: Sequence[keras.Model], architecture: Architecture) -> dict[str, FloatArray]:
    """The inverse of `set_arrays`."""
    found: dict[str, FloatArray] = {}
    for model, layer, names in _weighted(models, architecture):
        found.update(zip(names, model.get_layer(layer).get_weights(), strict=True))
    return found


def _weighted(models: Sequence[keras.Model], architecture: Architecture) -> list[tuple[keras.Model, str, list[str]]]:
    """Model, layer name and array names (in Keras's order) of every layer that has arrays."""
    by_layer: dict[str, list[str]] = {}
    for name in array_shapes(architecture):
        by_layer.setdefault(name.rpartition(".")[0], []).append(name)
    homes = {layer.name: model for model in models for layer in model.layers}
    return [(homes[layer], layer, names) for layer, names in by_layer.items()]
