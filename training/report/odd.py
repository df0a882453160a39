"""Odd inputs, which are no frontal chest films: for how many does the verdict name a label? Nothing is tuned on these.

Called by the report. The folder has the files and a manifest.csv with `file`, `what`, `suggested_expectation` and
`source`.
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

NO_FILM_PHRASES: Final = ("not a frontal cxr", "not as a cxr", "not a cxr", "non-cxr")
"""Phrases by which an expectation states that the picture is no frontal chest film."""

Row = Mapping[str, str]


def measure_odd(engine: Engine, folder: Path, progress: Progress) -> OddInputs:
    """Return the share of the odd inputs whose verdict names one of the labels.

    Each file goes through the decoder, the preprocessing, the network and the verdict that serve. A file that the
    decoder refuses counts as an input without such a verdict.

    Raises:
        DataProblem: the manifest or a file that it names cannot be read, or it names no odd input.
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
    """Return whether a manifest row describes a picture that is no frontal chest film.

    It does where the expectation states so, where the picture is a lateral film (one such row expects only that its
    size is handled), and where it was made without an X-ray: source 'synthetic'. Damaged, re-encoded or renamed chest
    films are chest films.
    """
    expectation = row["suggested_expectation"].casefold()
    is_stated = any(phrase in expectation for phrase in NO_FILM_PHRASES)
    return is_stated or "lateral" in row["what"].casefold() or row["source"] == "synthetic"


def read_odd_rows(path: Path) -> list[Row]:
    """Return the rows of the manifest.

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
    """Return the film's pixels; None where the decoder refuses the file."""
    try:
        return read_film(path)
    except RefusedUpload:
        return None
    except OSError as error:
        message = f"The odd input {path.name} cannot be read."
        raise DataProblem(message, path=str(path)) from error
