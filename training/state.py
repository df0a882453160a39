"""Values of training that a checkpoint stores: `TrainingState` and `FitResult`. No TensorFlow, unlike `fit.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from shared.arrays import FloatArray
from shared.manifest import Thresholds
from shared.model_report import Epoch
from training.features import Stored
from training.recipe import Recipe
from worker.engine.architecture import Architecture
from worker.engine.gate import Gate


@dataclass(frozen=True, slots=True)
class FitResult:
    """A trained model, before it is exported.

    Attributes:
        recipe: the recipe it was trained by.
        architecture: its table, BatchNorm and Dropout included.
        arrays: by name, for that table.
        history: one entry an epoch.
        kept_epoch: the epoch that the arrays are of, from 1.
        temperature, thresholds: chosen on the validation films.
        gate: the input gate; None where the recipe asks for none.
        trained_on: label -> number of training films; 'validation' -> number of validation films.
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


@dataclass(frozen=True, slots=True)
class TrainingState:
    """State between two epochs: all that an interrupted run needs to resume as if it had not been interrupted.

    Attributes:
        history: the finished epochs.
        kept_epoch, best_loss, best_arrays: the best epoch so far, its validation loss and its trained arrays.
        state: of the network after the last finished epoch, see `Network.state`.
        rng: state of the random generator, as `numpy.random.Generator.bit_generator.state` gives it.
    """

    history: tuple[Epoch, ...]
    kept_epoch: int
    best_loss: float
    best_arrays: list[FloatArray]
    state: list[npt.NDArray[np.generic]]
    rng: Mapping[str, Any]  # Any: numpy's own nesting


class CheckpointStore(Protocol):
    """Storage for the finished work of a run, so that a resumed run does not repeat it."""

    def features(self, name: str, make: Callable[[], Stored]) -> Stored:
        """Return the stored features of that name; where there are none yet, make and store them."""

    def last(self) -> TrainingState | None:
        """Return the state after the last finished epoch; None before the first."""

    def save(self, state: TrainingState) -> None:
        """Store the state in place of the previous one."""


class NoCheckpoints:
    """A `CheckpointStore` that stores nothing."""

    def features(self, name: str, make: Callable[[], Stored]) -> Stored:  # noqa: ARG002  the protocol's
        """Make the features anew."""
        return make()

    def last(self) -> TrainingState | None:
        """Return None: no state is ever stored."""
        return None

    def save(self, state: TrainingState) -> None:
        """Discard the state."""
