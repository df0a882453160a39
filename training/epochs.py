"""The epoch loop: weighted draws of stored features, one optimiser step a batch, and the choice of the best epoch.

Called by `fit.py`. All draws come from one generator, whose state is part of every checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from shared.errors import DataProblem
from shared.model_report import Epoch
from shared.verdict import calibrate
from training.calibrate import log_loss
from training.dataset import Example
from training.features import Progress, Stored, draw_weights
from training.network import Network
from training.recipe import Recipe
from training.state import CheckpointStore, TrainingState


@dataclass(frozen=True, slots=True)
class LabelledFeatures:
    """Stored features of N films with their targets.

    Attributes:
        stored: (N, F, *feature shape) float16, F forms of each film, the unchanged film first.
        targets: (N,) output indices.
        draw_probabilities: (N,) probability of each film at each draw; they sum to 1.
    """

    stored: Stored
    targets: npt.NDArray[np.int64]
    draw_probabilities: npt.NDArray[np.float64]

    @classmethod
    def of(cls, examples: Sequence[Example], stored: Stored, recipe: Recipe) -> LabelledFeatures:
        """Return the stored features of these films with targets and draw probabilities by the recipe."""
        targets = np.array([recipe.target(example.label) for example in examples], np.int64)
        return cls(stored, targets, draw_weights(examples, recipe.balance, recipe.pool_shares))


@dataclass(frozen=True, slots=True)
class Trainer:
    """One network with the features that it is trained and validated on."""

    recipe: Recipe
    network: Network
    train: LabelledFeatures
    validation: LabelledFeatures

    def run(self, progress: Progress, checkpoints: CheckpointStore) -> TrainingState:
        """Train all epochs that are not finished yet; leave the kept epoch's arrays in the network.

        Raises:
            DataProblem: the loss is not finite.
        """
        rng = np.random.default_rng(self.recipe.seed)
        state = checkpoints.last() or self._initial_state(rng)
        rng.bit_generator.state = state.rng
        if state.state:
            self.network.set_state(state.state)
        for number in range(len(state.history) + 1, self.recipe.epochs + 1):
            epoch = self._run_epoch(number, rng)
            state = self._next_state(state, epoch, rng)
            checkpoints.save(state)
            progress("epochs", number, self.recipe.epochs)
        self.network.set_trained_arrays(state.best_arrays)
        return state

    def _initial_state(self, rng: np.random.Generator) -> TrainingState:
        arrays = self.network.trained_arrays()
        return TrainingState((), self.recipe.epochs, np.inf, arrays, [], rng.bit_generator.state)

    def _run_epoch(self, number: int, rng: np.random.Generator) -> Epoch:
        started = time.monotonic()
        loss, accuracy = self._train_epoch(rng)
        validation_loss, validation_accuracy = self._validate()
        if not np.isfinite([loss, validation_loss]).all():
            raise DataProblem(f"The loss is no number any more in epoch {number}: set a smaller learning_rate.")
        return Epoch(number, loss, accuracy, validation_loss, validation_accuracy, time.monotonic() - started)

    def _train_epoch(self, rng: np.random.Generator) -> tuple[float, float]:
        """Train on as many draws as there are films, each in one of its stored forms; return mean loss and accuracy."""
        recipe, n = self.recipe, len(self.train.targets)
        probabilities = self.train.draw_probabilities
        drawn = rng.permutation(n) if recipe.balance == "none" else rng.choice(n, n, p=probabilities)
        forms = rng.integers(0 if recipe.learns_originals else 1, self.train.stored.shape[1], n)
        sums = np.zeros(2)
        for start in range(0, n, recipe.batch):
            films = drawn[start : start + recipe.batch]
            x = self.train.stored[films, forms[start : start + recipe.batch]].astype(np.float32)
            sums += np.array(self.network.step(x, self.train.targets[films])) * len(films)
        loss, accuracy = sums / n
        return float(loss), float(accuracy)

    def _validate(self) -> tuple[float, float]:
        """Return balanced log-loss and accuracy on the unchanged validation films."""
        scores = calibrate(self.network.predict(self.validation.stored[:, 0]), 1.0)
        targets = self.validation.targets
        return log_loss(scores, targets), float((scores.argmax(axis=1) == targets).mean())

    def _next_state(self, state: TrainingState, epoch: Epoch, rng: np.random.Generator) -> TrainingState:
        """Return the state after one more epoch, which replaces the kept one where the recipe prefers it."""
        after = replace(state, history=(*state.history, epoch), state=self.network.state(), rng=rng.bit_generator.state)
        if self.recipe.choose == "last" or epoch.validation_loss < state.best_loss:
            arrays = self.network.trained_arrays()
            return replace(after, kept_epoch=epoch.epoch, best_loss=epoch.validation_loss, best_arrays=arrays)
        return after
