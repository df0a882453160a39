"""The folder of one run: what it was asked to do, a log of what it did, and what it needs to go on.

`var/runs/<id>/` holds `run.json`, `recipe.json`, `run.log`, while it lasts `checkpoint/`, in the end the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import DataProblem
from shared.manifest import MANIFEST_FILE
from training.checkpoint import Checkpoint
from training.dataset import Example, film_sha256
from training.export import RECIPE_FILE
from training.features import Progress
from training.new_folder import make_folder
from training.recipe import Recipe
from training.recipe_file import read_recipe
from training.splits import TrainingData

RECORD_FILE: Final = "run.json"
LOG_FILE: Final = "run.log"
CHECKPOINT: Final = "checkpoint"


class RunRecord(BaseModel):
    """What a run was asked to do, beside its recipe.

    Attributes:
        data: the folder of films; `pretrained` the file of weights to start from, if the recipe has any.
        trained_at: ISO 8601 date in UTC.
        films_sha256: digest of the films it learns from, see `films_digest`; '' until they are known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path
    pretrained: Path | None
    trained_at: str
    films_sha256: str = ""


@dataclass(slots=True)
class RunLog:
    """A `Progress` that also writes to `run.log`: each stage's beginning and end, and every epoch."""

    path: Path
    show: Progress
    begun: set[str] = field(default_factory=set)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Note it, then show it."""
        if stage not in self.begun or done >= total or stage == "epochs":
            self.note(f"{stage}: {done} of {total}")
            self.begun.add(stage)
        self.show(stage, done, total)

    def note(self, sentence: str) -> None:
        """One line with the time in UTC."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}  {sentence}\n")


def new_id(recipe: Recipe, now: datetime) -> str:
    """A run's id: time in UTC and recipe, e.g. '20261123T084500Z-tiny'."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{recipe.name}"


def begin(folder: Path, recipe: Recipe, record: RunRecord) -> None:
    """Make the folder and write down what is asked; what an earlier run kept there to go on is forgotten."""
    make_folder(folder)
    Checkpoint(folder / CHECKPOINT).forget()
    (folder / RECIPE_FILE).write_text(recipe.to_json() + "\n", encoding="utf-8")
    (folder / RECORD_FILE).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_record(folder: Path) -> RunRecord:
    """What the run in `folder` was asked to do.

    Raises:
        DataProblem: there is none.
    """
    try:
        return RunRecord.model_validate_json((folder / RECORD_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise DataProblem(f"'{folder.name}' is no run: it has no readable {RECORD_FILE}.", path=str(folder)) from error


def is_learned(folder: Path) -> bool:
    """Whether the run in `folder` has made its model: nothing is kept to go on with any more."""
    return (folder / MANIFEST_FILE).is_file() and not (folder / CHECKPOINT).is_dir()


def read_unfinished(folder: Path) -> tuple[Recipe, RunRecord]:
    """The recipe and the record of a run that was cut off.

    Raises:
        DataProblem: there is none, or it is finished.
    """
    record = read_record(folder)
    if not (folder / CHECKPOINT).is_dir():
        raise DataProblem(f"The run '{folder.name}' has nothing to resume: it is finished, or had not begun to learn.")
    return read_recipe(folder / RECIPE_FILE), record


def films_digest(films: TrainingData) -> str:
    """SHA-256 over the rows learned from and chosen by: label, group, split, pool, file name and bytes of each."""
    lines = [*_lines("train", films.train), *_lines("validation", films.validation)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _lines(part: str, examples: Sequence[Example]) -> list[str]:
    return ["\t".join((part, e.label, e.group, e.split, e.pool, e.path.name, film_sha256(e.path))) for e in examples]
