"""Labelled films on disk as checked rows: a manifest CSV or one folder a class. Reads no pixels except to check.

A row's `group` is whatever must not be torn apart (a patient, a near-duplicate cluster). Whatever would spoil a run
is found here, before training starts, and named by file and line: `DataProblem`.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.domain import Pixels
from shared.errors import DataProblem, RefusedUpload
from shared.imaging.decode import decode

ReadFilm = Callable[[Path], Pixels]

TRAINING_COLUMNS: Final = ("file", "label", "group", "split")
MEASURING_COLUMNS: Final = ("file", "label", "split")
SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg"})


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled film.

    Attributes:
        path: the file.
        label: its class.
        group: what must stay on one side of every split.
        split: the set it belongs to.
        pool: where it comes from, for balancing; '' where not stated.
        where: 'manifest.csv line 12', for messages.
    """

    path: Path
    label: str
    group: str
    split: str
    pool: str
    where: str


def read_film(path: Path) -> Pixels:
    """The film's canonical grey pixels (H, W), by the decoder that serves."""
    return decode(path.read_bytes()).pixels


def read_manifest_csv(
    path: Path, columns: Sequence[str] = TRAINING_COLUMNS, labels: Collection[str] | None = None
) -> tuple[Example, ...]:
    """All rows of a manifest; film paths are relative to its folder.

    Args:
        columns: those that must be there.
        labels: those a row may have; None allows any.

    Raises:
        DataProblem: unreadable, a column is missing, a cell is empty, or a label is unknown.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            _check_columns(path, reader.fieldnames or (), columns)
            return tuple(_example(path, reader.line_num, row, columns, labels) for row in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"{path.name} cannot be read as a CSV file."
        raise DataProblem(message, path=str(path)) from error


def _check_columns(path: Path, found: Collection[str], needed: Sequence[str]) -> None:
    missing = [column for column in needed if column not in found]
    if missing:
        message = f"{path.name} line 1: column {', '.join(missing)} is missing."
        raise DataProblem(message, path=str(path))


def _example(
    path: Path, line: int, row: dict[str, str], columns: Sequence[str], labels: Collection[str] | None
) -> Example:
    where = f"{path.name} line {line}"
    for column in columns:
        if not (row[column] or "").strip():
            raise DataProblem(f"{where}: {column} is empty.")
    if labels is not None and row["label"] not in labels:
        raise DataProblem(f"{where}: the label '{row['label']}' is not one of {', '.join(sorted(labels))}.")
    group = row.get("group") or row["file"]
    film = path.parent / row["file"]
    return Example(film, row["label"], group, row["split"], row.get("pool") or "", where)


def read_class_folders(root: Path, folders: dict[str, str], split: str = "train") -> tuple[Example, ...]:
    """One folder a class, the films in it or in its `images/`; each film is a group of its own.

    This is the layout of Kaggle's COVID-19 Radiography Database, whose films name no patient: near-duplicates in
    it may fall on both sides of a split, so figures from it flatter.

    Args:
        folders: folder name (any case) to label; other folders, such as `masks/`, are left alone.

    Raises:
        DataProblem: there is no such folder below `root`.
    """
    wanted = {name.casefold(): label for name, label in folders.items()}
    found: list[Example] = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        label = wanted.get(folder.name.casefold())
        if label is None:
            continue
        inside = folder / "images" if (folder / "images").is_dir() else folder
        films = sorted(path for path in inside.iterdir() if path.suffix.lower() in SUFFIXES)
        found += [Example(film, label, film.stem, split, "", f"{folder.name}/{film.name}") for film in films]
    if not found:
        raise DataProblem(f"There are no class folders ({', '.join(sorted(folders))}) with films.", root=str(root))
    return tuple(found)


def check_groups(examples: Iterable[Example]) -> None:
    """No group in two splits.

    Raises:
        DataProblem: naming the group and both rows.
    """
    seen: dict[str, Example] = {}
    for example in examples:
        first = seen.setdefault(example.group, example)
        if first.split != example.split:
            message = (
                f"{example.where}: group {example.group} is in split '{example.split}' "
                f"but in '{first.split}' at {first.where}."
            )
            raise DataProblem(message)


def check_labels(examples: Iterable[Example], labels: Sequence[str], name: str) -> None:
    """Each label has at least one film.

    Raises:
        DataProblem: naming the empty class and where it was looked for.
    """
    counts = Counter(example.label for example in examples)
    for label in labels:
        if not counts[label]:
            raise DataProblem(f"{name}: the class '{label}' has no film.")


def check_films(examples: Iterable[Example], read: ReadFilm = read_film) -> None:
    """Every film can be read.

    Raises:
        DataProblem: naming the first row whose film cannot.
    """
    for example in examples:
        try:
            read(example.path)
        except (OSError, RefusedUpload) as error:
            message = f"{example.where}: the film {example.path.name} cannot be read ({error.__class__.__name__})."
            raise DataProblem(message, path=str(example.path)) from error
