"""Does the model name a label for what is no frontal chest film? Called by the report; nothing is tuned on these.

The folder has the files and a manifest.csv with `file`, `what`, `suggested_expectation` and `source`.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from shared.arrays import Pixels
from shared.errors import DataProblem, RefusedUpload
from shared.model_report import OddInputs
from training.dataset import read_film
from training.features import Progress
from training.manifest_csv import check_columns
from training.metrics import wilson
from training.report.verdicts import give_verdicts
from worker.engine.base import Engine

MANIFEST: Final = "manifest.csv"
COLUMNS: Final = ("file", "what", "suggested_expectation", "source")
STAGE: Final = "odd inputs"

NO_FILM_SAYINGS: Final = ("not a frontal cxr", "not as a cxr", "not a cxr", "non-cxr")
"""How an expectation says that the picture is no frontal chest film."""

Row = Mapping[str, str]


def measure_odd(engine: Engine, folder: Path, progress: Progress) -> OddInputs:
    """The share of the inputs that are no frontal chest films which get a verdict naming one of the labels.

    Each file goes through the decoder, the preprocessing, the network and the verdict that serve; one that the
    decoder refuses is not answered, and counts.

    Raises:
        DataProblem: the manifest or a file that it names cannot be read, or it names no such input.
    """
    rows = [row for row in read_odd_rows(folder / MANIFEST) if is_no_chest_film(row)]
    if not rows:
        raise DataProblem(f"{MANIFEST} names no input that is not a frontal chest film.", folder=str(folder))
    answered: list[str] = []
    for done, row in enumerate(rows, start=1):
        pixels = _decode(folder / row["file"])
        if pixels is not None and give_verdicts(engine, [pixels])[0] in engine.manifest.labels:
            answered.append(row["file"])
        progress(STAGE, done, len(rows))
    return OddInputs(answered=wilson(len(answered), len(rows)), answered_files=answered)


def is_no_chest_film(row: Row) -> bool:
    """Does a manifest row describe something that is no frontal chest film?

    So it is where the expectation says so, where the picture is a lateral film (one row expects only that its size
    is coped with), and where no X-ray went into it: source 'synthetic'. Damaged, re-encoded or renamed chest films
    are chest films.
    """
    expectation = row["suggested_expectation"].casefold()
    is_said = any(saying in expectation for saying in NO_FILM_SAYINGS)
    return is_said or "lateral" in row["what"].casefold() or row["source"] == "synthetic"


def read_odd_rows(path: Path) -> list[Row]:
    """The rows of the manifest.

    Raises:
        DataProblem: it cannot be read, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            check_columns(path, reader.fieldnames or (), COLUMNS)
            return list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"{path.name} cannot be read as a CSV file."
        raise DataProblem(message, path=str(path)) from error


def _decode(path: Path) -> Pixels | None:
    """The film's pixels; None where the decoder refuses the file."""
    try:
        return read_film(path)
    except RefusedUpload:
        return None
    except OSError as error:
        message = f"The odd input {path.name} cannot be read."
        raise DataProblem(message, path=str(path)) from error
