"""Which films are learned from, which are kept for choosing and calibrating: by group, seeded, checked for leaks.

Called by the command line and by tests; `fit` only sees the result.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from shared.errors import DataProblem
from training.dataset import (
    Example,
    ReadFilm,
    check_films,
    check_groups,
    check_labels,
    read_class_folders,
    read_film,
    read_manifest_csv,
)
from training.recipe import Recipe

CLASS_FOLDERS: Final = {
    "COVID": "covid19",
    "COVID-19": "covid19",
    "covid19": "covid19",
    "NORMAL": "normal",
    "Viral Pneumonia": "viral_pneumonia",
    "viral_pneumonia": "viral_pneumonia",
}
"""Folder names (any case) of the Radiography Database's releases, and our own labels."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What one run may look at while it learns: two sets of films with no group in common."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]


def find_examples(recipe: Recipe, folder: Path) -> tuple[Example, ...]:
    """The labelled films of a data folder: the recipe's manifest, a manifest.csv, or one folder a class.

    Raises:
        DataProblem: none of the three is there, or what is there is not right.
    """
    labels = (*recipe.labels, *recipe.other_labels)
    for manifest in (folder / recipe.manifest, folder / "manifest.csv"):
        if manifest.is_file():
            return read_manifest_csv(manifest, labels=labels)
    if not folder.is_dir():
        raise DataProblem(f"The data folder '{folder.name}' is not there; name it with --data or PLAINFILM_DATA.")
    return read_class_folders(folder, CLASS_FOLDERS, recipe.train_splits[0])


def prepare(recipe: Recipe, folder: Path, read: ReadFilm = read_film) -> TrainingData:
    """Find, check and split the films that `recipe` learns from. Every check runs before training starts.

    Raises:
        DataProblem: see `dataset`.
    """
    examples = find_examples(recipe, folder)
    check_groups(examples)
    usable = [e for e in examples if e.split in recipe.train_splits and e.label in recipe.learned_labels]
    check_labels(usable, recipe.labels, f"splits {', '.join(recipe.train_splits)}")
    data = split_by_group(usable, recipe.validation_share, np.random.default_rng(recipe.seed))
    check_labels(data.train, recipe.labels, "training part")
    check_labels(data.validation, recipe.labels, "validation part")
    check_films(usable, read)
    return data


def split_by_group(examples: list[Example], share: float, rng: np.random.Generator) -> TrainingData:
    """Take about `share` of the groups of each (label, pool) for validation; a group goes whole."""
    strata: dict[tuple[str, str], set[str]] = defaultdict(set)
    taken: set[str] = set()
    for example in examples:
        if example.group not in taken:
            strata[example.label, example.pool].add(example.group)
            taken.add(example.group)
    chosen: set[str] = set()
    for key in sorted(strata):
        groups = sorted(strata[key])
        chosen.update(rng.permutation(groups)[: max(1, round(share * len(groups)))].tolist())
    return TrainingData(
        train=tuple(e for e in examples if e.group not in chosen),
        validation=tuple(e for e in examples if e.group in chosen),
    )
