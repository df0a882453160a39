"""The folder of one run: its request, its log and, until it is finished, its checkpoint.

`var/runs/<id>/` holds `run.json`, `recipe.json` and `run.log`; during the run `checkpoint/`, in the end the model.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import Conflict, DataProblem
from shared.manifest import MANIFEST_FILE
from training.checkpoint import Checkpoint
from training.dataset import Example, film_sha256
from training.export import RECIPE_FILE
from training.features import Progress
from training.new_folder import make_folder, write_whole
from training.recipe import Recipe
from training.recipe_file import read_recipe
from training.splits import TrainingData

RECORD_FILE: Final = "run.json"
LOG_FILE: Final = "run.log"
CHECKPOINT: Final = "checkpoint"


class RunRecord(BaseModel):
    """The request of a run, beside its recipe.

    Attributes:
        data: the folder of films.
        pretrained: the file of initial weights, if the recipe has any.
        trained_at: ISO 8601 date in UTC.
        films_sha256: digest of the training and validation films, see `films_digest`; '' until they are known.
        recipe_sha256: digest of the recipe, see `Recipe.sha256`; '' in runs of older builds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path
    pretrained: Path | None
    trained_at: str
    films_sha256: str = ""
    recipe_sha256: str = ""


@dataclass(slots=True)
class RunLog:
    """A `Progress` that also writes to `run.log`: the beginning and end of each stage, and every epoch."""

    path: Path
    show: Progress
    begun: set[str] = field(default_factory=set)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Log the progress where it is worth a line, then show it."""
        if stage not in self.begun or done >= total or stage == "epochs":
            self.note(f"{stage}: {done} of {total}")
            self.begun.add(stage)
        self.show(stage, done, total)

    def note(self, sentence: str) -> None:
        """Append one line to `run.log`, with the time in UTC."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}  {sentence}\n")


def new_id(recipe: Recipe, now: datetime) -> str:
    """Return a run's id: time in UTC and recipe, e.g. '20261123T084500Z-tiny'."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{recipe.name}"


def begin(folder: Path, recipe: Recipe, record: RunRecord) -> None:
    """Make the folder and write the request; the checkpoint of an earlier run in it is deleted."""
    make_folder(folder)
    Checkpoint(folder / CHECKPOINT).forget()
    _write_request(folder, recipe, record)


def read_record(folder: Path) -> RunRecord:
    """Return the request of the run in `folder`.

    Raises:
        DataProblem: the folder is no run.
    """
    try:
        return RunRecord.model_validate_json((folder / RECORD_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise DataProblem(f"'{folder.name}' is no run: it has no readable {RECORD_FILE}.", path=str(folder)) from error


def is_learned(folder: Path) -> bool:
    """Return whether the run in `folder` has finished its model: there is a manifest, and no checkpoint any more."""
    return (folder / MANIFEST_FILE).is_file() and not (folder / CHECKPOINT).is_dir()


def can_resume(folder: Path) -> bool:
    """Return whether the run in `folder` has begun to learn: a checkpoint, or the model that its report is to be of."""
    return (folder / CHECKPOINT).is_dir() or is_learned(folder)


def relocate(folder: Path, data: Path | None, pretrained: Path | None) -> None:
    """Write where the run's films, or its initial weights, lie now that they were moved; None: where they lay."""
    record, recipe = read_record(folder), read_recipe(folder / RECIPE_FILE).starting_from(pretrained)
    data = record.data if data is None else data.absolute()
    weights = data / recipe.pretrained if recipe.pretrained else None
    _write_request(folder, recipe, record.model_copy(update={"data": data, "pretrained": weights}))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a lock on the run's log: two processes in one run would mix their epochs.

    Raises:
        Conflict: another process holds it.
    """
    with (folder / LOG_FILE).open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"Another process is at work on the run '{folder.name}'.") from error
        yield


def read_unfinished(folder: Path) -> tuple[Recipe, RunRecord]:
    """Return the recipe and the request of an interrupted run.

    Raises:
        DataProblem: the folder is no run, or the run has no checkpoint: it is finished, or was interrupted too early;
            or its recipe.json was changed since it began.
    """
    record = read_record(folder)
    if not (folder / CHECKPOINT).is_dir():
        raise DataProblem(f"The run '{folder.name}' has nothing to resume: it is finished, or had not begun to learn.")
    recipe = read_recipe(folder / RECIPE_FILE)
    if record.recipe_sha256 not in {"", recipe.sha256}:
        raise DataProblem(
            f"The {RECIPE_FILE} of the run '{folder.name}' is no longer the recipe that it began with: restore it, or "
            "start a new run with --recipe and --set."
        )
    return recipe, record


def _write_request(folder: Path, recipe: Recipe, record: RunRecord) -> None:
    write_whole(folder / RECIPE_FILE, recipe.to_json() + "\n")
    write_whole(folder / RECORD_FILE, record.model_dump_json(indent=2) + "\n")


def films_digest(films: TrainingData) -> str:
    """Return a SHA-256 over label, group, split, pool, file name and bytes of each training and validation film."""
    lines = [*_lines("train", films.train), *_lines("validation", films.validation)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _lines(part: str, examples: Sequence[Example]) -> list[str]:
    return ["\t".join((part, e.label, e.group, e.split, e.pool, e.path.name, film_sha256(e.path))) for e in examples]
