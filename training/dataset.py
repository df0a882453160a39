"""Labelled films on disk as checked rows: a manifest CSV or one folder a class. Reads no pixels except to check.

A row's `group` is whatever must not be torn apart (a patient, a near-duplicate cluster). Whatever would spoil a run
is found here, before training starts, and named by file and line: one `DataProblem` for all that a check finds.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, TextIO

from shared.arrays import Pixels
from shared.errors import DataProblem, RefusedUpload
from shared.film_names import is_film
from shared.imaging.decode import decode

ReadFilm = Callable[[Path], Pixels]
Row = Mapping[str, str | None]

TRAINING_COLUMNS: Final = ("file", "label", "group", "split")
MEASURING_COLUMNS: Final = ("file", "label", "split")

SPLIT_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""A split's name becomes part of file names and of links."""

OTHER_MARKS: Final = ((";", "semicolons"), ("\t", "tabs"))
"""What spreadsheets separate columns by, where it is no comma."""

TOLD: Final = 3
"""Names of files that are no films, in one line."""

LISTED: Final = 20
"""Problems named in one message; of further ones it tells the number."""


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


def film_sha256(path: Path) -> str:
    """Of the file's bytes: two films of one name, or of one size, are not one film."""
    facts = path.stat()
    return _sha256_of(path, facts.st_size, facts.st_mtime_ns)


@cache
def _sha256_of(path: Path, _size: int, _changed_ns: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refuse(problems: Sequence[str]) -> None:
    """Nothing where there is no problem.

    Raises:
        DataProblem: naming the first `LISTED` of them, one a line.
    """
    if not problems:
        return
    more = [f"... and {len(problems) - LISTED} more"] if len(problems) > LISTED else []
    lines = [*problems[:LISTED], *more]
    raise DataProblem(lines[0] if len(problems) == 1 else "\n  ".join([f"{len(problems)} problems:", *lines]))


def read_manifest_csv(
    path: Path, columns: Sequence[str] = TRAINING_COLUMNS, labels: Collection[str] | None = None
) -> tuple[Example, ...]:
    """All rows of a manifest; film paths are relative to its folder.

    Args:
        columns: those that must be there.
        labels: those a row may have; None allows any.

    Raises:
        DataProblem: unreadable, a column is missing, cells are empty, or labels are unknown.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _read_rows(path, file, columns)
    except FileNotFoundError as error:
        raise DataProblem(f"The CSV file {path.name} is not there.", path=str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path.name} cannot be read as a CSV file."
        raise DataProblem(message, path=str(path)) from error
    refuse([problem for where, row in rows for problem in _row_problems(where, row, columns, labels)])
    return tuple(_example(path, where, row) for where, row in rows)


def _read_rows(path: Path, file: TextIO, columns: Sequence[str]) -> list[tuple[str, Row]]:
    """Each row and where it stands. A stray quotation mark would make one cell of all rows up to the next."""
    reader = csv.DictReader(file, strict=True)
    rows: list[tuple[str, Row]] = []
    at = 1
    try:
        check_columns(path, reader.fieldnames or (), columns)
        at = reader.line_num + 1
        for row in reader:
            if any("\n" in cell for cell in row.values() if isinstance(cell, str)):
                raise csv.Error(f"a quotation mark opens a cell that goes on to line {reader.line_num}")  # noqa: TRY301
            rows.append((f"{path.name} line {reader.line_num}", row))
            at = reader.line_num + 1
    except csv.Error as error:
        raise DataProblem(f"{path.name} line {at}: the row cannot be read as CSV: {error}.") from error
    return rows


def check_columns(path: Path, found: Collection[str], needed: Sequence[str]) -> None:
    """The CSV file has the needed columns.

    Raises:
        DataProblem: naming those that are missing, and what the file seems to be separated by.
    """
    missing = [column for column in needed if column not in found]
    if missing:
        mark = next((name for sign, name in OTHER_MARKS if set(needed) <= set("".join(found).split(sign))), None)
        hint = f" It seems to be separated by {mark}; commas are read." if mark else ""
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
    """Each name that no split can have."""
    for name in names:
        if not SPLIT_NAME.fullmatch(name):
            yield f"{where}the split name '{name}' may only have letters, digits, '_' and '-', at most 64 of them."


def _example(path: Path, where: str, row: Row) -> Example:
    file, label, group, split, pool = (
        (row.get(name) or "").strip() for name in ("file", "label", "group", "split", "pool")
    )
    return Example(path.parent / file, label, group or file, split, pool, where)


def read_class_folders(root: Path, folders: Mapping[str, str], split: str = "train") -> tuple[Example, ...]:
    """One folder a class, the films in it or in its `images/`; each film is a group of its own, its class its pool.

    This is the layout of Kaggle's COVID-19 Radiography Database, whose films name no patient: near-duplicates in
    it may fall on both sides of a split, so figures from it flatter. Where the class folders lie in one folder below
    `root`, as an unpacked download has them, that folder is taken.

    Args:
        folders: folder name to label; case, and whether a blank, '-' or '_' stands between words, do not matter.
            Other folders, such as `masks/` or `Lung_Opacity/`, are left alone.

    Raises:
        DataProblem: there are no such folders, they lie in several places, or one has no film.
    """
    found: list[Example] = []
    problems: list[str] = []
    for folder, label in _class_folders(root, folders):
        inside = _inside(folder)
        films = _films_in(inside)
        if inside != folder and _films_in(folder):
            problems.append(f"{folder.name}/: films lie in it and in its images/; put all of them into one of the two.")
        problems += [] if films else [f"{folder.name}/: the folder of the class '{label}' has no film."]
        found += [
            Example(film, label, f"{folder.name}/{film.stem}", split, label, f"{folder.name}/{film.name}")
            for film in films
        ]
    refuse(problems)
    return tuple(found)


def _inside(folder: Path) -> Path:
    """Where a class folder has its films."""
    return folder / "images" if (folder / "images").is_dir() else folder


def _films_in(folder: Path) -> list[Path]:
    """By name, DICOMs among them; hidden files, such as the '._' twins that macOS packs, are none."""
    return sorted(path for path in folder.iterdir() if _is_shown(path) and _is_film(path))


def _is_shown(path: Path) -> bool:
    return not path.name.startswith(".")


def _is_film(path: Path) -> bool:
    return path.is_file() and is_film(path.name, lambda: path.open("rb"))


def passed_over(root: Path, folders: Mapping[str, str]) -> Iterator[str]:
    """What lies among the films of a class and is none: a line a class folder, with the first three names."""
    for folder, _ in _class_folders(root, folders):
        inside = _inside(folder)
        others = sorted(path.name for path in inside.iterdir() if _is_shown(path) and not _is_film(path))
        if others:
            more = f" and {len(others) - TOLD} more" if len(others) > TOLD else ""
            yield f"no films in {inside.relative_to(folder.parent)}/: {', '.join(others[:TOLD])}{more}"


def left_alone(root: Path, folders: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the folders beside the class folders that no label was found for."""
    home = _class_folders(root, folders)[0][0].parent
    return tuple(path.name for path in _subfolders(home) if folder_key(path.name) not in _by_key(folders))


def folder_key(name: str) -> str:
    """A folder's name as it is compared: 'Viral Pneumonia', 'viral-pneumonia' and 'viral_pneumonia' are one."""
    return "_".join(name.casefold().replace("-", " ").replace("_", " ").split())


def _by_key(folders: Mapping[str, str]) -> dict[str, str]:
    return {folder_key(name): label for name, label in folders.items()}


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir())


def _class_folders(root: Path, folders: Mapping[str, str]) -> list[tuple[Path, str]]:
    """The class folders in `root`, else in the one folder below it that has any, with their labels."""
    wanted = _by_key(folders)
    if not root.is_dir():
        raise DataProblem(f"The folder '{root.name}' is not there.", root=str(root))
    below = {home: _subfolders(home) for home in (root, *_subfolders(root))}
    homes = {
        home: [(path, wanted[folder_key(path.name)]) for path in paths if folder_key(path.name) in wanted]
        for home, paths in below.items()
    }
    if homes[root]:
        return homes[root]
    having = [home for home in homes if homes[home]]
    if len(having) > 1:
        names = ", ".join(home.name for home in having)
        raise DataProblem(f"There are class folders in each of {names}: name one of these folders.", root=str(root))
    if not having:
        names = ", ".join(sorted(folders))
        raise DataProblem(f"'{root.name}' has no class folders with films ({names}).", root=str(root))
    return homes[having[0]]


def group_problems(examples: Iterable[Example]) -> Iterator[str]:
    """Each row whose group, or whose film, is already in another split, with the row that says so.

    A film is its file, by whatever path and link; one under two labels, or in two groups, is a problem too.
    """
    groups: dict[str, Example] = {}
    films: dict[Path, Example] = {}
    for example in examples:
        for what, first in (
            (f"group {example.group}", groups.setdefault(example.group, example)),
            (f"the film {example.path.name}", films.setdefault(example.path.resolve(), example)),
        ):
            if first.split != example.split:
                told = f"{what} is in split '{example.split}' but in '{first.split}' at {first.where}."
                yield f"{example.where}: {told}"
                break
        else:
            if first.label != example.label:
                told = f"the film {example.path.name} is '{example.label}' but '{first.label}' at {first.where}."
                yield f"{example.where}: {told}"
            elif first.group != example.group:
                told = f"is in group {example.group} but in {first.group} at {first.where}."
                yield f"{example.where}: the film {example.path.name} {told}"


def check_groups(examples: Iterable[Example]) -> None:
    """No group in two splits.

    Raises:
        DataProblem: naming each such group and both rows.
    """
    refuse(list(group_problems(examples)))


def repeat_problems(examples: Iterable[Example]) -> Iterator[str]:
    """Each row whose film, by whatever path and link, has a row already: it would count twice."""
    films: dict[Path, Example] = {}
    for example in examples:
        first = films.setdefault(example.path.resolve(), example)
        if first is not example:
            label = "" if first.label == example.label else f", as '{first.label}' and not '{example.label}'"
            yield f"{example.where}: the film {example.path.name} has a row already at {first.where}{label}."


def check_once(examples: Iterable[Example]) -> None:
    """Each film has one row.

    Raises:
        DataProblem: naming each further row of a film, and its first.
    """
    refuse(list(repeat_problems(examples)))


def label_problems(examples: Iterable[Example], labels: Sequence[str], name: str) -> Iterator[str]:
    """Each label without a film, and where it was looked for."""
    counts = Counter(example.label for example in examples)
    return (f"{name}: the class '{label}' has no film." for label in labels if not counts[label])


def check_labels(examples: Iterable[Example], labels: Sequence[str], name: str) -> None:
    """Each label has at least one film.

    Raises:
        DataProblem: naming the empty classes and where they were looked for.
    """
    refuse(list(label_problems(examples, labels, name)))


def check_films(examples: Iterable[Example], read: ReadFilm = read_film) -> None:
    """Every film can be read.

    Raises:
        DataProblem: naming each row whose film cannot.
    """
    refuse([problem for example in examples if (problem := _film_problem(example, read))])


def _film_problem(example: Example, read: ReadFilm) -> str | None:
    try:
        read(example.path)
    except (OSError, ValueError, RefusedUpload) as error:
        return f"{example.where}: the film {example.path.name} cannot be read ({error.__class__.__name__})."
    return None
