"""Facts in a model's folder beside its manifest: its recipe, its training time, and the history of its epochs."""

from __future__ import annotations

import csv
from dataclasses import fields
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import DataProblem
from shared.model_report import Epoch, read_report
from training.export import HISTORY_FILE, RECIPE_FILE
from training.recipe import Recipe, recipe_from_json

LEARNING_FILE: Final = "learning.json"
PAGE_FILE: Final = "report.html"


class Learning(BaseModel):
    """Facts known when training ends: its wall time in seconds, and the epoch whose weights were kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(gt=0)
    kept_epoch: int | None = Field(default=None, ge=1)


def write_learning(folder: Path, learning: Learning) -> None:
    """Write `folder/learning.json`."""
    (folder / LEARNING_FILE).write_text(learning.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_learning(folder: Path, weights_sha256: str) -> Learning | None:
    """Return the facts in learning.json, else those of an earlier report on the same weights, else None.

    Raises:
        DataProblem: learning.json is not valid.
    """
    path = folder / LEARNING_FILE
    if path.is_file():
        try:
            return Learning.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise DataProblem(f"The model's {LEARNING_FILE} is not valid.", folder=str(folder)) from error
    earlier = read_report(folder, weights_sha256)
    return Learning(seconds=earlier.train_seconds) if earlier and earlier.train_seconds else None


def read_recipe(folder: Path) -> Recipe:
    """Return the recipe that the model was trained by.

    Raises:
        DataProblem: the folder has none, or it is not valid.
    """
    try:
        return recipe_from_json((folder / RECIPE_FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataProblem(
            f"The model folder has no readable {RECIPE_FILE}: the report needs it.", folder=str(folder)
        ) from error


def read_history(folder: Path) -> tuple[Epoch, ...]:
    """Return the epochs of `history.csv`; none where there is no such file.

    Raises:
        DataProblem: a column or a number is missing.
    """
    path = folder / HISTORY_FILE
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8", newline="") as file:
        try:
            return tuple(_epoch(row) for row in csv.DictReader(file))
        except (KeyError, TypeError, ValueError) as error:
            raise DataProblem(f"The model's {HISTORY_FILE} is not valid.", folder=str(folder)) from error


def _epoch(row: dict[str, str]) -> Epoch:
    numbers = {field.name: float(row[field.name]) for field in fields(Epoch) if field.name != "epoch"}
    return Epoch(epoch=int(row["epoch"]), **numbers)
