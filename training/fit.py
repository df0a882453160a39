"""`fit(recipe, data) -> FitResult`: the learning itself. Reads films, writes nothing; the caller stores the result."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import keras
import numpy as np
import numpy.typing as npt

from shared.arrays import FloatArray
from shared.errors import DataProblem
from shared.model_report import Epoch
from shared.verdict import calibrate
from training.calibrate import CalibrationSet, Targets, choose_thresholds, log_loss
from training.course import Course, FitResult, Keep, KeepNothing
from training.dataset import Example, ReadFilm, read_film
from training.features import Forms, Progress, Stored, draw_weights, store_features
from training.gate import fit_gate, negative_features, pooled
from training.network import Network, build_network
from training.recipe import Recipe
from training.splits import TrainingData
from worker.engine.architecture import gate_features, get_architecture
from worker.engine.gate import Gate
from worker.engine.keras_engine import claim_device

GATE_FORMS: Final = 2
"""Forms of each film that the gate learns on: the film itself and one changed copy."""


def ignore(_stage: str, _done: int, _total: int) -> None:
    """A `Progress` that shows nothing."""


def fit(  # noqa: PLR0913 - the last three have defaults that most take
    recipe: Recipe,
    data: TrainingData,
    pretrained: Mapping[str, FloatArray] | None = None,
    *,
    read: ReadFilm = read_film,
    progress: Progress = ignore,
    keep: Keep | None = None,
) -> FitResult:
    """Learn from `data.train`, choose and calibrate on `data.validation`.

    Args:
        pretrained: arrays to start from, by the table's names; the others start at random from the seed.
        keep: where an earlier attempt at this run left off, and where this one keeps what it has done.
    """
    started = time.monotonic()
    keep = keep or KeepNothing()
    network = start_network(recipe, len(data.train), pretrained or {})
    forms = Forms(recipe, network.architecture.input_shape, read)
    store = partial(store_features, forms=forms, trunk=network.trunk, progress=progress)
    held = keep.features("validation", partial(store, data.validation, copies=recipe.calibration_copies))
    stored = keep.features("train", partial(store, data.train, copies=recipe.copies))
    result = learn(network, forms, data, (stored, held), progress, keep)
    return replace(result, seconds=time.monotonic() - started)


def start_network(recipe: Recipe, films: int, pretrained: Mapping[str, FloatArray]) -> Network:
    """The recipe's network before its first step, and every generator at the recipe's seed.

    Args:
        films: how many are learned from.

    Raises:
        DataProblem: the recipe asks for a gate that its frozen rows do not give, or has nothing to learn from.
    """
    claim_device()
    keras.utils.set_random_seed(recipe.seed)
    _check_gate(recipe)
    _check_forms(recipe)
    return build_network(recipe, pretrained, recipe.epochs * -(-films // recipe.batch))


def learn(  # noqa: PLR0913, PLR0917 - what a run has at hand by then
    network: Network,
    forms: Forms,
    data: TrainingData,
    features: tuple[Stored, Stored],
    progress: Progress,
    keep: Keep,
) -> FitResult:
    """All epochs, the gate and the thresholds, over features that are stored already.

    Args:
        network: as `start_network` gave it.
        features: stored forms of `data.train` and of `data.validation`.
    """
    started = time.monotonic()
    recipe = forms.recipe
    material = _material(data.train, features[0], recipe)
    held = _material(data.validation, features[1], recipe)
    history, kept = _run_epochs(recipe, network, (material, held), progress, keep)
    gate, distances = _learn_gate(recipe.gate_layer, data.train, (material, held), forms, network)
    spreads = np.array([x.std() for x in forms.inputs(data.validation, 0)], np.float32)
    temperature, thresholds = conclude(_held(network, held, spreads, distances), recipe.labels, Aims.of(recipe))
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


def _check_forms(recipe: Recipe) -> None:
    """A recipe that learns from changed copies alone has some."""
    if not recipe.learns_originals and recipe.copies == 0:
        raise DataProblem("The recipe learns from changed copies alone, and has none: set copies to 1 or more.")


def _check_gate(recipe: Recipe) -> None:
    """A gate judges a row of the table behind the frozen ones, whose features are stored."""
    if recipe.gate_layer is None:
        return
    architecture = get_architecture(recipe.architecture, recipe.outputs)
    gate_features(architecture, recipe.gate_layer)
    names = [layer.name for layer in architecture.layers]
    if recipe.frozen_until and names.index(recipe.gate_layer) < names.index(recipe.frozen_until):
        raise DataProblem(f"The recipe's gate_layer lies before frozen_until, '{recipe.frozen_until}'.")


@dataclass(frozen=True, slots=True)
class _Material:
    """What epochs draw from: stored forms (N, F, ...), output indices (N,), probability of each film (N,)."""

    stored: Stored
    labels: npt.NDArray[np.int64]
    chances: npt.NDArray[np.float64]


def _material(examples: Sequence[Example], stored: Stored, recipe: Recipe) -> _Material:
    targets = np.array([recipe.target(example.label) for example in examples], np.int64)
    return _Material(stored, targets, draw_weights(examples, recipe.balance, recipe.pool_shares))


def _learn_gate(
    row: str | None, examples: Sequence[Example], films: tuple[_Material, _Material], forms: Forms, network: Network
) -> tuple[Gate | None, FloatArray | None]:
    """The gate on that row of the network as it has learned; its two distances of each form held back, (N * F, 2)."""
    if row is None:
        return None, None
    material, held = films
    early, shape = network.early(row), network.architecture.input_shape
    negatives = negative_features(examples, forms.recipe, shape, lambda x: early(network.trunk(x)), forms.read)
    gate = fit_gate(pooled(material.stored[:, :GATE_FORMS], early), negatives)
    return gate, np.stack(gate.distances(pooled(held.stored, early)), axis=1)


def _held(network: Network, held: _Material, spreads: FloatArray, distances: FloatArray | None) -> Held:
    """All stored forms of the validation films as rows: film 0 as it is, its copies, film 1, ..."""
    forms = held.stored.shape[1]
    rows = held.stored.reshape(-1, *held.stored.shape[2:])
    is_changed = np.tile(np.arange(forms) > 0, len(held.labels))
    return Held(network.predict(rows), np.repeat(held.labels, forms), spreads, distances, is_changed)


def _run_epochs(
    recipe: Recipe, network: Network, films: tuple[_Material, _Material], progress: Progress, keep: Keep
) -> tuple[tuple[Epoch, ...], int]:
    """Train all epochs that are not done yet; leave the chosen epoch's arrays in `network`."""
    material, held = films
    rng = np.random.default_rng(recipe.seed)
    course = keep.last() or Course((), recipe.epochs, np.inf, network.trained_arrays(), [], rng.bit_generator.state)
    rng.bit_generator.state = course.rng
    if course.state:
        network.set_state(course.state)
    for number in range(len(course.history) + 1, recipe.epochs + 1):
        started = time.monotonic()
        loss, accuracy = _one_epoch(recipe, network, material, rng)
        scores = calibrate(network.predict(held.stored[:, 0]), 1.0)
        held_loss = log_loss(scores, held.labels)
        held_accuracy = float((scores.argmax(axis=1) == held.labels).mean())
        if not np.isfinite([loss, held_loss]).all():
            raise DataProblem(f"The loss is no number any more in epoch {number}: set a smaller learning_rate.")
        epoch = Epoch(number, loss, accuracy, held_loss, held_accuracy, time.monotonic() - started)
        course = _after(course, epoch, network, rng, is_last_kept=recipe.choose == "last")
        keep.save(course)
        progress("epochs", number, recipe.epochs)
    network.set_trained_arrays(course.best_arrays)
    return course.history, course.kept_epoch


def _after(course: Course, epoch: Epoch, network: Network, rng: np.random.Generator, *, is_last_kept: bool) -> Course:
    """The course after one more epoch."""
    history, state = (*course.history, epoch), network.state()
    if is_last_kept or epoch.validation_loss < course.best_loss:
        best = network.trained_arrays()
        return Course(history, epoch.epoch, epoch.validation_loss, best, state, rng.bit_generator.state)
    return replace(course, history=history, state=state, rng=rng.bit_generator.state)


def _one_epoch(recipe: Recipe, network: Network, material: _Material, rng: np.random.Generator) -> tuple[float, float]:
    """As many draws as there are films, each in one of the forms learned from: mean loss and accuracy."""
    n = len(material.labels)
    drawn = rng.permutation(n) if recipe.balance == "none" else rng.choice(n, n, p=material.chances)
    form = rng.integers(0 if recipe.learns_originals else 1, material.stored.shape[1], n)
    sums = np.zeros(2)
    for start in range(0, n, recipe.batch):
        films = drawn[start : start + recipe.batch]
        x = material.stored[films, form[start : start + recipe.batch]].astype(np.float32)
        sums += np.array(network.step(x, material.labels[films])) * len(films)
    loss, accuracy = sums / n
    return float(loss), float(accuracy)
