"""One folder a class as labelled films: the layout of Kaggle's COVID-19 Radiography Database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from shared.errors import DataProblem
from shared.film_names import is_film
from training.dataset import Example, refuse, sha256_or_none

NAMES_SHOWN: Final = 3
"""Names of files that are no films, in one line."""

MASKS: Final = "masks"
"""The Radiography Database's folder of lung outlines beside the films: nobody takes them for films."""


def read_class_folders(root: Path, folders: Mapping[str, str], split: str = "train") -> tuple[Example, ...]:
    """Return the films of one folder a class, in it or in its `images/`; a film's class is its pool.

    Each film is a group, with those that equal it byte for byte.

    This is the layout of Kaggle's COVID-19 Radiography Database, whose films name no patient: near-duplicates in
    it may fall on both sides of a split, so that measurements on it are optimistic. Where the class folders lie in one
    folder below `root`, as in an unpacked download, that folder is taken.

    Args:
        folders: folder name to label; case does not matter, nor whether a blank, '-' or '_' separates words.
            Other folders, such as `masks/` or `Lung_Opacity/`, are ignored.

    Raises:
        DataProblem: there are no such folders, they lie in several places, or one has no film.
    """
    examples: list[Example] = []
    problems: list[str] = []
    for folder, label in _class_folders(root, folders):
        inside = _film_folder(folder)
        films = _films_in(inside)
        if inside != folder and _films_in(folder):
            problems.append(f"{folder.name}/: films lie in it and in its images/; put all of them into one of the two.")
        problems += [] if films else [f"{folder.name}/: the folder of the class '{label}' has no film."]
        examples += [
            Example(film, label, f"{folder.name}/{film.stem}", split, label, f"{folder.name}/{film.name}")
            for film in films
        ]
    refuse(problems)
    return tuple(_grouped_by_bytes(examples))


def ignored_files(root: Path, folders: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each class folder that holds files other than films, or folders, with the first three names."""
    for folder, _ in _class_folders(root, folders):
        inside = _film_folder(folder)
        others = [path for path in sorted(inside.iterdir()) if _is_shown(path) and not _is_film(path)]
        place = f"{inside.relative_to(folder.parent)}/"
        if files := [path.name for path in others if not path.is_dir()]:
            yield f"no films in {place}: {_shorten(files)}"
        if inner := [path.name for path in others if path.is_dir() and folder_key(path.name) != MASKS]:
            yield f"folders in {place}, whose films are not taken: {_shorten(inner)}; put the films into {place} itself"


def _shorten(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"{', '.join(names[:NAMES_SHOWN])}{more}"


def ignored_folders(root: Path, folders: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the folders beside the class folders that belong to no label."""
    home = _class_folders(root, folders)[0][0].parent
    return tuple(path.name for path in _subfolders(home) if folder_key(path.name) not in _labels_by_key(folders))


def folder_key(name: str) -> str:
    """Return a folder's name in the form that is compared: 'Viral Pneumonia' and 'viral-pneumonia' are one."""
    return "_".join(name.casefold().replace("-", " ").replace("_", " ").split())


def _grouped_by_bytes(examples: Iterable[Example]) -> Iterator[Example]:
    """Yield each film in the group of the first one with the same bytes: such collections hold some films twice."""
    groups: dict[str, str] = {}
    for example in examples:
        digest = sha256_or_none(example.path)
        yield replace(example, group=groups.setdefault(digest, example.group)) if digest else example


def _film_folder(folder: Path) -> Path:
    """Return the folder that holds the films of a class folder."""
    return folder / "images" if (folder / "images").is_dir() else folder


def _films_in(folder: Path) -> list[Path]:
    """Return the films by name, DICOM files among them; hidden files, such as macOS's '._' twins, are none."""
    return sorted(path for path in folder.iterdir() if _is_shown(path) and _is_film(path))


def _is_shown(path: Path) -> bool:
    return not path.name.startswith(".")


def _is_film(path: Path) -> bool:
    return path.is_file() and is_film(path.name, lambda: path.open("rb"))


def _labels_by_key(folders: Mapping[str, str]) -> dict[str, str]:
    return {folder_key(name): label for name, label in folders.items()}


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir())


def _class_folders(root: Path, folders: Mapping[str, str]) -> list[tuple[Path, str]]:
    """Return the class folders with their labels: those in `root`, else those in the one folder below that has any."""
    if not root.is_dir():
        raise DataProblem(f"The folder '{root.name}' is not there.", root=str(root))
    labels = _labels_by_key(folders)
    homes = {
        home: [(path, labels[folder_key(path.name)]) for path in _subfolders(home) if folder_key(path.name) in labels]
        for home in (root, *_subfolders(root))
    }
    if homes[root]:
        return homes[root]
    candidates = [home for home in homes if homes[home]]
    if len(candidates) > 1:
        names = ", ".join(home.name for home in candidates)
        raise DataProblem(f"There are class folders in each of {names}: name one of these folders.", root=str(root))
    if not candidates:
        names = ", ".join(sorted(folders))
        raise DataProblem(f"'{root.name}' has no class folders with films ({names}).", root=str(root))
    return homes[candidates[0]]
