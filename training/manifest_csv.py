"""A manifest CSV as labelled films: every row checked, and each problem named by file and line."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TextIO

from shared.errors import DataProblem
from training.dataset import Example, refuse

Row = Mapping[str, str | None]

TRAINING_COLUMNS: Final = ("file", "label", "group", "split")
MEASURING_COLUMNS: Final = ("file", "label", "split")

SPLIT_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""A split's name becomes part of file names and of links."""

OTHER_SEPARATORS: Final = ((";", "semicolons"), ("\t", "tabs"))
"""Separators that spreadsheets write in place of the comma."""


def read_manifest_csv(
    path: Path, columns: Sequence[str] = TRAINING_COLUMNS, labels: Collection[str] | None = None
) -> tuple[Example, ...]:
    """Return the films of all rows of a manifest; film paths are relative to its folder.

    Args:
        columns: the columns that the file must have.
        labels: the labels that a row may have; None allows any.

    Raises:
        DataProblem: the file cannot be read, a column is missing, cells are empty, or labels are unknown.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _read_rows(path, file, columns)
    except FileNotFoundError as error:
        raise DataProblem(f"The CSV file {path.name} is not there.", path=str(path)) from error
    except UnicodeDecodeError as error:
        message = f"{path.name} cannot be read as a CSV file: it is not in UTF-8 (in Excel: save as CSV UTF-8)."
        raise DataProblem(message, path=str(path)) from error
    except OSError as error:
        message = f"{path.name} cannot be read as a CSV file."
        raise DataProblem(message, path=str(path)) from error
    rows = [(where, row) for where, row in rows if any(map(_is_filled, row.values()))]
    refuse([problem for where, row in rows for problem in _row_problems(where, row, columns, labels)])
    return tuple(_example(path, where, row) for where, row in rows)


def _read_rows(path: Path, file: TextIO, columns: Sequence[str]) -> list[tuple[str, Row]]:
    """Return each row with its place in the file.

    A cell with a line break is refused: a stray quotation mark would turn all rows up to the next one into one cell.
    """
    reader = csv.DictReader(file, strict=True)
    rows: list[tuple[str, Row]] = []
    line = 1
    try:
        check_columns(path, reader.fieldnames or (), columns)
        line = reader.line_num + 1
        for row in reader:
            if any("\n" in cell for cell in row.values() if isinstance(cell, str)):
                raise csv.Error(f"a quotation mark opens a cell that goes on to line {reader.line_num}")  # noqa: TRY301
            rows.append((f"{path.name} line {reader.line_num}", row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataProblem(f"{path.name} line {line}: the row cannot be read as CSV: {error}.") from error
    return rows


def _is_filled(cell: object) -> bool:
    """Return whether a cell holds anything: spreadsheets end a table with rows of nothing but commas."""
    return any(map(str.strip, cell)) if isinstance(cell, list) else bool(str(cell or "").strip())


def check_columns(path: Path, present: Collection[str], needed: Sequence[str]) -> None:
    """Check that the CSV file has the needed columns.

    Raises:
        DataProblem: naming the missing columns, and the separator that the file seems to use in place of the comma.
    """
    missing = [column for column in needed if column not in present]
    if missing:
        header = "".join(present)
        separator = next((name for sign, name in OTHER_SEPARATORS if set(needed) <= set(header.split(sign))), None)
        hint = f" It seems to be separated by {separator}; commas are read." if separator else ""
        message = f"{path.name} line 1: column {', '.join(missing)} is missing.{hint}"
        raise DataProblem(message, path=str(path))


def _row_problems(where: str, row: Row, columns: Sequence[str], labels: Collection[str] | None) -> Iterator[str]:
    for column in columns:
        if not (row[column] or "").strip():
            yield f"{where}: {column} is empty."
    if "\0" in (row["file"] or ""):
        yield f"{where}: file is no path."
    split = (row.get("split") or "").strip()
    if split:
        yield from split_name_problems([split], f"{where}: ")
    label = (row["label"] or "").strip()
    if labels is not None and label and label not in labels:
        yield f"{where}: the label '{label}' is not one of {', '.join(sorted(labels))}."


def split_name_problems(names: Iterable[str], where: str = "") -> Iterator[str]:
    """Yield a sentence for each name that no split may have."""
    for name in names:
        if not SPLIT_NAME.fullmatch(name):
            yield f"{where}the split name '{name}' may only have letters, digits, '_' and '-', at most 64 of them."


def _example(path: Path, where: str, row: Row) -> Example:
    file, label, group, split, pool = (
        (row.get(name) or "").strip() for name in ("file", "label", "group", "split", "pool")
    )
    return Example(path.parent / file, label, group or file, split, pool, where)
