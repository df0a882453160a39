"""`fit(recipe, data) -> FitResult`: the learning itself. Reads films, writes nothing; the caller stores the result."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import keras
import numpy as np
import numpy.typing as npt

from shared.domain import FloatArray
from shared.errors import DataProblem
from shared.manifest import Thresholds
from shared.verdict import calibrate
from training.calibrate import Aims, Held, conclude, log_loss
from training.dataset import Example, ReadFilm, read_film
from training.features import Forms, Progress, Stored, draw_weights, store_features
from training.gate import fit_gate, negative_features, pooled
from training.network import Network, build_network
from training.recipe import Recipe
from training.splits import TrainingData
from worker.engine.architecture import Architecture, find_architecture
from worker.engine.gate import Gate

PREDICT_BATCH: Final = 64


@dataclass(frozen=True, slots=True)
class Epoch:
    """One line of the history; losses are balanced log-losses of uncalibrated scores."""

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a run learned.

    Attributes:
        recipe: the recipe it followed.
        architecture: its table, BatchNorm and Dropout included.
        arrays: by name, for that table.
        history: one line an epoch.
        kept_epoch: the epoch whose arrays these are, from 1.
        temperature, thresholds: from the validation films.
        gate: the input gate; None where the recipe asks for none.
        trained_on: label -> films learned from; 'validation' -> films kept for choosing.
        seconds: wall time.
    """

    recipe: Recipe
    architecture: Architecture
    arrays: dict[str, FloatArray]
    history: tuple[Epoch, ...]
    kept_epoch: int
    temperature: float
    thresholds: Thresholds
    gate: Gate | None
    trained_on: dict[str, int]
    seconds: float


def ignore(_stage: str, _done: int, _total: int) -> None:
    """A `Progress` that shows nothing."""


def fit(
    recipe: Recipe,
    data: TrainingData,
    pretrained: dict[str, FloatArray] | None = None,
    *,
    read: ReadFilm = read_film,
    progress: Progress = ignore,
) -> FitResult:
    """Learn from `data.train`, choose and calibrate on `data.validation`.

    Args:
        pretrained: arrays to start from, by the table's names; the others start at random from the seed.
    """
    started = time.monotonic()
    keras.utils.set_random_seed(recipe.seed)
    steps = recipe.epochs * -(-len(data.train) // recipe.batch)
    _check_gate(recipe)
    network = build_network(recipe, pretrained or {}, steps)
    forms = Forms(recipe, network.architecture.input_shape, read)
    held = _material(data.validation, forms, network, progress, copies=recipe.calibration_copies)
    material = _material(data.train, forms, network, progress, copies=recipe.copies)
    history, kept = _run_epochs(recipe, network, material, held, progress)
    gate = _learn_gate(data.train, material, forms, network) if recipe.gate else None
    spreads = np.array([x.std() for x in forms.inputs(data.validation, 0)], np.float32)
    aims = Aims(recipe.coverage, recipe.set_coverage, recipe.other_verdicts, recipe.gate_pass)
    temperature, thresholds = conclude(_held(network, held, spreads, gate), recipe.labels, aims)
    return FitResult(
        recipe=recipe,
        architecture=network.architecture,
        arrays=network.arrays(),
        history=history,
        kept_epoch=kept,
        temperature=temperature,
        thresholds=thresholds,
        gate=gate,
        trained_on=dict(Counter(example.label for example in data.train)) | {"validation": len(data.validation)},
        seconds=time.monotonic() - started,
    )


def _check_gate(recipe: Recipe) -> None:
    """A gate judges what the frozen trunk gives, which is known before the rest has learned."""
    architecture = find_architecture(recipe.architecture, recipe.outputs)
    if recipe.gate and (recipe.frozen_until is None or recipe.frozen_until != architecture.gate_layer):
        raise DataProblem(f"The recipe's gate needs frozen_until to be '{architecture.gate_layer}'.")


@dataclass(frozen=True, slots=True)
class _Material:
    """What epochs draw from: stored forms (N, F, ...), output indices (N,), probability of each film (N,)."""

    stored: Stored
    labels: npt.NDArray[np.int64]
    chances: npt.NDArray[np.float64]


def _material(
    examples: Sequence[Example], forms: Forms, network: Network, progress: Progress, *, copies: int
) -> _Material:
    stored = store_features(examples, forms, network.trunk, progress, copies=copies)
    recipe = forms.recipe
    targets = np.array([recipe.target(example.label) for example in examples], np.int64)
    return _Material(stored, targets, draw_weights(examples, recipe.balance, recipe.pool_shares))


def _learn_gate(examples: Sequence[Example], material: _Material, forms: Forms, network: Network) -> Gate:
    shape = network.architecture.input_shape
    negatives = negative_features(examples, forms.recipe, shape, network.trunk, forms.read)
    return fit_gate(pooled(material.stored), negatives)


def _held(network: Network, held: _Material, spreads: FloatArray, gate: Gate | None) -> Held:
    """All stored forms of the validation films as rows: film 0 as it is, its copies, film 1, ..."""
    forms = held.stored.shape[1]
    rows = held.stored.reshape(-1, *held.stored.shape[2:])
    distances = np.stack(gate.distances(pooled(held.stored)), axis=1) if gate else None
    is_changed = np.tile(np.arange(forms) > 0, len(held.labels))
    return Held(network.predict(rows, PREDICT_BATCH), np.repeat(held.labels, forms), spreads, distances, is_changed)


def _run_epochs(
    recipe: Recipe, network: Network, material: _Material, held: _Material, progress: Progress
) -> tuple[tuple[Epoch, ...], int]:
    """Train all epochs; leave the chosen epoch's arrays in `network`."""
    rng = np.random.default_rng(recipe.seed)
    history: list[Epoch] = []
    best, kept, arrays = np.inf, recipe.epochs, network.trained_arrays()
    for number in range(1, recipe.epochs + 1):
        started = time.monotonic()
        loss, accuracy = _one_epoch(recipe, network, material, rng)
        scores = calibrate(network.predict(held.stored[:, 0], PREDICT_BATCH), 1.0)
        held_loss = log_loss(scores, held.labels)
        held_accuracy = float((scores.argmax(axis=1) == held.labels).mean())
        history.append(Epoch(number, loss, accuracy, held_loss, held_accuracy, time.monotonic() - started))
        progress("epochs", number, recipe.epochs)
        if recipe.choose == "last" or held_loss < best:
            best, kept, arrays = held_loss, number, network.trained_arrays()
    network.set_trained_arrays(arrays)
    return tuple(history), kept


def _one_epoch(recipe: Recipe, network: Network, material: _Material, rng: np.random.Generator) -> tuple[float, float]:
    """As many draws as there are films, each in one of its stored forms: mean loss and accuracy while training."""
    n = len(material.labels)
    drawn = rng.permutation(n) if recipe.balance == "none" else rng.choice(n, n, p=material.chances)
    form = rng.integers(0, material.stored.shape[1], n)
    sums = np.zeros(2)
    for start in range(0, n, recipe.batch):
        films = drawn[start : start + recipe.batch]
        x = material.stored[films, form[start : start + recipe.batch]].astype(np.float32)
        sums += np.array(network.step(x, material.labels[films])) * len(films)
    loss, accuracy = sums / n
    return float(loss), float(accuracy)
