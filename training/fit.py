"""`fit(recipe, data) -> FitResult`: training itself. Reads films and writes nothing; the caller stores the result."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import keras
import numpy as np

from shared.arrays import FloatArray
from shared.errors import DataProblem
from training.calibrate import CalibrationSet, Targets, choose_thresholds
from training.dataset import ReadFilm, read_film
from training.epochs import LabelledFeatures, Trainer
from training.features import Forms, Progress, Stored, store_features
from training.gate import fit_gate, negative_features, pooled
from training.network import Network, build_network
from training.recipe import Recipe
from training.splits import TrainingData
from training.state import CheckpointStore, FitResult, NoCheckpoints
from worker.engine.architecture import gate_features, get_architecture
from worker.engine.gate import Gate
from worker.engine.keras_engine import claim_device

GATE_FORMS: Final = 2
"""Forms of each film that the input gate is trained on: the unchanged film and one augmented copy."""


def ignore(_stage: str, _done: int, _total: int) -> None:
    """Show nothing: a `Progress` for callers without a display."""


@dataclass(frozen=True, slots=True)
class StoredData:
    """The films of a run with their stored features, (N, F, *feature shape) float16 for each of its two parts."""

    films: TrainingData
    train: Stored
    validation: Stored


def fit(  # noqa: PLR0913 - the last three have defaults that most take
    recipe: Recipe,
    data: TrainingData,
    pretrained: Mapping[str, FloatArray] | None = None,
    *,
    read: ReadFilm = read_film,
    progress: Progress = ignore,
    checkpoints: CheckpointStore | None = None,
) -> FitResult:
    """Train on `data.train`; choose the epoch and calibrate on `data.validation`.

    Args:
        pretrained: initial arrays, by the table's names; the others are initialised at random from the seed.
        checkpoints: holds what an interrupted attempt at this run finished, and stores what this one finishes.
    """
    started = time.monotonic()
    checkpoints = checkpoints or NoCheckpoints()
    network = start_network(recipe, len(data.train), pretrained or {})
    forms = Forms(recipe, network.architecture.input_shape, read)
    store = partial(store_features, forms=forms, trunk=network.trunk, progress=progress)
    validation = checkpoints.features("validation", partial(store, data.validation, copies=recipe.calibration_copies))
    train = checkpoints.features("train", partial(store, data.train, copies=recipe.copies))
    result = train_network(network, forms, StoredData(data, train, validation), progress, checkpoints)
    return replace(result, seconds=time.monotonic() - started)


def start_network(recipe: Recipe, films: int, pretrained: Mapping[str, FloatArray]) -> Network:
    """Return the recipe's network before its first step, with every random generator at the recipe's seed.

    Args:
        films: number of training films.

    Raises:
        DataProblem: the recipe asks for a gate on a row before its trained ones, or leaves no form to train on.
    """
    claim_device()
    keras.utils.set_random_seed(recipe.seed)
    _check_gate(recipe)
    _check_forms(recipe)
    return build_network(recipe, pretrained, recipe.epochs * -(-films // recipe.batch))


def train_network(
    network: Network, forms: Forms, data: StoredData, progress: Progress, checkpoints: CheckpointStore
) -> FitResult:
    """Train all epochs over stored features, then fit the gate and choose the thresholds.

    Args:
        network: as returned by `start_network`.
    """
    started = time.monotonic()
    recipe, films = forms.recipe, data.films
    train = LabelledFeatures.of(films.train, data.train, recipe)
    validation = LabelledFeatures.of(films.validation, data.validation, recipe)
    state = Trainer(recipe, network, train, validation).run(progress, checkpoints)
    gate, distances = _fit_gate(recipe.gate_layer, data, forms, network)
    spreads = np.array([x.std() for x in forms.inputs(films.validation, 0)], np.float32)
    calibration_set = _calibration_set(network, validation, spreads, distances)
    temperature, thresholds = choose_thresholds(calibration_set, recipe.labels, Targets.of(recipe))
    return FitResult(
        recipe=recipe,
        architecture=network.architecture,
        arrays=network.arrays(),
        history=state.history,
        kept_epoch=state.kept_epoch,
        temperature=temperature,
        thresholds=thresholds,
        gate=gate,
        trained_on=dict(Counter(example.label for example in films.train)) | {"validation": len(films.validation)},
        seconds=time.monotonic() - started,
    )


def _check_forms(recipe: Recipe) -> None:
    """Raise DataProblem where the recipe trains on augmented copies alone and makes none."""
    if not recipe.learns_originals and recipe.copies == 0:
        raise DataProblem("The recipe learns from changed copies alone, and has none: set copies to 1 or more.")


def _check_gate(recipe: Recipe) -> None:
    """Raise DataProblem where the gate's row lies before the last frozen row, whose features are stored."""
    if recipe.gate_layer is None:
        return
    architecture = get_architecture(recipe.architecture, recipe.outputs)
    gate_features(architecture, recipe.gate_layer)
    names = [layer.name for layer in architecture.layers]
    if recipe.frozen_until and names.index(recipe.gate_layer) < names.index(recipe.frozen_until):
        raise DataProblem(f"The recipe's gate_layer lies before frozen_until, '{recipe.frozen_until}'.")


def _fit_gate(
    row: str | None, data: StoredData, forms: Forms, network: Network
) -> tuple[Gate | None, FloatArray | None]:
    """Return the gate on that row of the trained network, and its two distances (N * F, 2) of the validation forms."""
    if row is None:
        return None, None
    early, shape = network.early(row), network.architecture.input_shape
    negatives = negative_features(data.films.train, forms.recipe, shape, lambda x: early(network.trunk(x)), forms.read)
    gate = fit_gate(pooled(data.train[:, :GATE_FORMS], early), negatives)
    return gate, np.stack(gate.distances(pooled(data.validation, early)), axis=1)


def _calibration_set(
    network: Network, validation: LabelledFeatures, spreads: FloatArray, distances: FloatArray | None
) -> CalibrationSet:
    """Return all stored forms of the validation films as rows: film 0 unchanged, its copies, film 1, ..."""
    forms = validation.stored.shape[1]
    rows = validation.stored.reshape(-1, *validation.stored.shape[2:])
    is_changed = np.tile(np.arange(forms) > 0, len(validation.targets))
    targets = np.repeat(validation.targets, forms)
    return CalibrationSet(network.predict(rows), targets, spreads, distances, is_changed)
