"""Recipe to trainable network: the architecture table in two halves, a frozen trunk and a trained tail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import keras
import numpy as np
import numpy.typing as npt

from shared.arrays import FloatArray
from training.recipe import Recipe
from worker.engine.architecture import Architecture, array_shapes, get_architecture
from worker.engine.keras_network import build_halves, build_whole, get_arrays, set_arrays

PREDICT_BATCH: Final = 64


@dataclass(frozen=True, slots=True)
class Network:
    """A network during training.

    Attributes:
        architecture: the table, BatchNorm and Dropout included.
        frozen: input (N, H, W, 1) to the features that the tail takes; None where no row is frozen.
        tail: features to logits (N, K), compiled.
    """

    architecture: Architecture
    frozen: keras.Model | None
    tail: keras.Model

    @property
    def models(self) -> tuple[keras.Model, ...]:
        """The one or two halves, input first."""
        return (self.tail,) if self.frozen is None else (self.frozen, self.tail)

    def trunk(self, x: FloatArray) -> npt.NDArray[np.floating]:
        """Return features (N, ...) of inputs (N, H, W, 1) float32 in [0, 1]; the inputs where no row is frozen."""
        return x if self.frozen is None else self.frozen.predict_on_batch(x)

    def early(self, row: str) -> Callable[[FloatArray], npt.NDArray[np.floating]]:
        """Return a function from stored features to the output of `row`: the last frozen row, or one of the tail."""
        if self.frozen is not None and row == self.frozen.layers[-1].name:
            return lambda features: features
        return keras.Model(self.tail.input, self.tail.get_layer(row).output).predict_on_batch

    def step(self, features: FloatArray, labels: npt.NDArray[np.int64]) -> tuple[float, float]:
        """Take one optimiser step; return its loss and accuracy."""
        self.tail.reset_metrics()
        targets = keras.utils.to_categorical(labels, self.tail.output.shape[-1])
        loss, accuracy = self.tail.train_on_batch(features, targets)
        return float(loss), float(accuracy)

    def predict(self, features: npt.NDArray[np.floating]) -> FloatArray:
        """Return logits (N, K) float32 of stored features."""
        parts = [
            self.tail.predict_on_batch(features[start : start + PREDICT_BATCH].astype(np.float32))
            for start in range(0, len(features), PREDICT_BATCH)
        ]
        return np.concatenate(parts).astype(np.float32)

    def arrays(self) -> dict[str, FloatArray]:
        """Return all arrays by the table's names."""
        return get_arrays(self.models, self.architecture)

    def trained_arrays(self) -> list[FloatArray]:
        """Return the tail's arrays, in Keras's order, for `set_trained_arrays`."""
        return self.tail.get_weights()

    def set_trained_arrays(self, arrays: list[FloatArray]) -> None:
        """Restore the tail's arrays from `trained_arrays`."""
        self.tail.set_weights(arrays)

    def state(self) -> list[npt.NDArray[np.generic]]:
        """Return all that a further step depends on: variables of the tail, seeds included, then of the optimiser."""
        return [variable.numpy() for variable in self._variables()]

    def set_state(self, values: Sequence[npt.NDArray[np.generic]]) -> None:
        """Restore the state that `state` returned, of a network of the same recipe."""
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value)

    def _variables(self) -> list[keras.Variable]:
        optimizer = self.tail.optimizer
        if not optimizer.built:
            optimizer.build(self.tail.trainable_variables)
        return [*self.tail.variables, *optimizer.variables]


def build_network(recipe: Recipe, pretrained: Mapping[str, FloatArray], steps: int) -> Network:
    """Return the recipe's network with the arrays of `pretrained`; others are initialised at random.

    Args:
        steps: optimiser steps of the whole run; a decaying learning rate reaches 0 after them.

    Raises:
        ManifestMismatch: there is no such architecture, or it cannot be cut at `frozen_until`.
    """
    architecture = get_architecture(recipe.architecture, recipe.outputs)
    if recipe.frozen_until is None:
        network = Network(architecture, None, build_whole(architecture))
    else:
        network = Network(architecture, *build_halves(architecture, recipe.frozen_until))
    set_arrays(network.models, architecture, network.arrays() | _known(pretrained, architecture))
    _compile(network.tail, recipe, steps)
    return network


def _known(pretrained: Mapping[str, FloatArray], architecture: Architecture) -> dict[str, FloatArray]:
    return {name: pretrained[name] for name in array_shapes(architecture) if name in pretrained}


def _compile(tail: keras.Model, recipe: Recipe, steps: int) -> None:
    for layer in tail.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = recipe.train_batch_norm
    tail.compile(
        optimizer=_optimizer(recipe, steps),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy()],
    )


def _optimizer(recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    if recipe.optimizer == "rmsprop":
        return keras.optimizers.RMSprop(recipe.learning_rate)
    rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps)
    return keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
