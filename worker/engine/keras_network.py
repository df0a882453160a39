"""The table and its arrays as Keras models, whole or cut in two: to serve, to explain, and to train.

Training builds its network here too, BatchNorm and Dropout included, so that one reading of the table makes both.
Called by `keras_engine.py`, `keras_explainer.py` and `training/network.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import keras
import tensorflow as tf

from shared.arrays import FloatArray
from shared.errors import ManifestMismatch
from worker.engine import layers as rows
from worker.engine.architecture import Architecture, array_shapes, float32_rows
from worker.engine.choose import Precision

POLICIES: Final[Mapping[Precision, str]] = MappingProxyType({"f32": "float32", "bf16": "mixed_bfloat16"})
"""Precision to Keras's name for it."""


def build_halves(architecture: Architecture, cut: str, precision: Precision = "f32") -> tuple[keras.Model, keras.Model]:
    """Return the network in two halves: input to the row named `cut`, and from there to the logits.

    Args:
        precision: of the arithmetic; in bf16 the first rows stay in float32, see `Architecture.float32_until`.

    Raises:
        ManifestMismatch: there is no such row, or a row after the cut refers to one before it.
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
    """Return the network as one model: input (N, H, W, 1) in [0, 1] to logits (N, K)."""
    return _connect(architecture.layers, keras.Input(architecture.input_shape), "input", _policies(architecture))


def _policies(architecture: Architecture, precision: Precision = "f32") -> dict[str, str]:
    """Return each row's precision, by Keras's name."""
    first = architecture.layers[: float32_rows(architecture)]
    chosen = dict.fromkeys((layer.name for layer in architecture.layers), POLICIES[precision])
    return chosen | dict.fromkeys((layer.name for layer in first), POLICIES["f32"])


def _connect(
    table: Sequence[rows.Layer], entry: keras.KerasTensor, entry_name: str, policies: Mapping[str, str]
) -> keras.Model:
    tensors = {entry_name: entry}
    above = entry
    for layer in table:
        keras_layer = make_layer(layer)
        keras_layer.dtype_policy = policies[layer.name]
        if not isinstance(layer, rows.Add):
            above = keras_layer(above)
        elif layer.other in tensors:
            above = keras_layer([above, tensors[layer.other]])
        else:
            message = f"The network cannot be cut at '{entry_name}': '{layer.name}' needs '{layer.other}'."
            raise ManifestMismatch(message)
        tensors[layer.name] = above
    return keras.Model(entry, above)


def make_layer(layer: rows.Layer) -> keras.layers.Layer:
    """Return the Keras layer of one row; the layer of `Add` takes two inputs."""
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
    """Write each named array into the layer of `models` with its name."""
    for model, layer, names in _weighted(models, architecture):
        model.get_layer(layer).set_weights([arrays[name] for name in names])


def get_arrays(models: Sequence[keras.Model], architecture: Architecture) -> dict[str, FloatArray]:
    """Return the named arrays of `models`; the inverse of `set_arrays`."""
    arrays: dict[str, FloatArray] = {}
    for model, layer, names in _weighted(models, architecture):
        arrays.update(zip(names, model.get_layer(layer).get_weights(), strict=True))
    return arrays


def _weighted(models: Sequence[keras.Model], architecture: Architecture) -> list[tuple[keras.Model, str, list[str]]]:
    """Return model, layer name and array names (in Keras's order) of every layer that has arrays."""
    by_layer: dict[str, list[str]] = {}
    for name in array_shapes(architecture):
        by_layer.setdefault(name.rpartition(".")[0], []).append(name)
    homes = {layer.name: model for model in models for layer in model.layers}
    return [(homes[layer], layer, names) for layer, names in by_layer.items()]
