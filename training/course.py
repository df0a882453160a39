"""What learning gives and keeps: its course, its result. Needs no TensorFlow, unlike `training/fit.py`."""

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


@dataclass(frozen=True, slots=True)
class Course:
    """Where the epochs are: what a run that was cut off needs to go on as if it had not been.

    Attributes:
        history: the finished epochs.
        kept_epoch, best_loss, best_arrays: the epoch chosen so far, its validation loss and trained arrays.
        state: of the network after the last finished epoch, see `Network.state`.
        rng: of the draws, as `numpy.random.Generator.bit_generator.state` gives it.
    """

    history: tuple[Epoch, ...]
    kept_epoch: int
    best_loss: float
    best_arrays: list[FloatArray]
    state: list[npt.NDArray[np.generic]]
    rng: Mapping[str, Any]  # Any: numpy's own nesting


class Keep(Protocol):
    """Where a run keeps what it would be a pity to do twice."""

    def features(self, name: str, make: Callable[[], Stored]) -> Stored:
        """The stored features of that name, made where there are none yet."""

    def last(self) -> Course | None:
        """The course after the last finished epoch; None before the first."""

    def save(self, course: Course) -> None:
        """Keep it instead of the one before."""


class KeepNothing:
    """A `Keep` without a memory."""

    def features(self, name: str, make: Callable[[], Stored]) -> Stored:  # noqa: ARG002  the port's
        """Made anew."""
        return make()

    def last(self) -> Course | None:
        """Never one."""
        return None

    def save(self, course: Course) -> None:
        """Forgotten."""
