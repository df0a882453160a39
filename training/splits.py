"""Splits films into training and validation: by group, seeded, checked for group leaks.

Called by runs, the report and cross-validation; `fit` gets the result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from shared.errors import DataProblem
from training.class_layout import read_class_folders
from training.dataset import Example, ReadFilm, read_film, refuse
from training.film_checks import check_films, group_problems, label_problems, repeat_problems, twin_problems
from training.knobs import knob_problems
from training.manifest_csv import read_manifest_csv
from training.recipe import Recipe

CLASS_FOLDERS: Final = MappingProxyType(
    {
        "COVID": "covid19",
        "COVID-19": "covid19",
        "NORMAL": "normal",
        "Viral Pneumonia": "viral_pneumonia",
    }
)
"""Folder names of the Radiography Database's releases and of covid-19-x-ray-10000-images."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The films that a run may use during training: two sets with no group in common."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]


def class_folders(labels: Sequence[str]) -> dict[str, str]:
    """Return folder names with their labels, for films that may have these labels: known names, and the labels."""
    return {name: label for name, label in CLASS_FOLDERS.items() if label in labels} | {
        label: label for label in labels
    }


def find_manifest(recipe: Recipe, folder: Path) -> Path | None:
    """Return the recipe's manifest in a data folder, else a manifest.csv; None where there is neither.

    Raises:
        DataProblem: there is no such folder.
    """
    if not folder.is_dir():
        raise DataProblem(f"The data folder '{folder.name}' is not there; name it with --data or PLAINFILM_DATA.")
    return next((path for path in (folder / recipe.manifest, folder / "manifest.csv") if path.is_file()), None)


def find_examples(recipe: Recipe, folder: Path) -> tuple[Example, ...]:
    """Return the labelled films of a data folder: of the recipe's manifest, a manifest.csv, or one folder a class.

    Raises:
        DataProblem: knobs of the recipe are not valid; or none of the three is there, or it is not valid.
    """
    refuse(list(knob_problems(recipe)))
    labels = (*recipe.labels, *recipe.other_labels)
    manifest = find_manifest(recipe, folder)
    if manifest is not None:
        return read_manifest_csv(manifest, labels=labels)
    return read_class_folders(folder, class_folders(labels), recipe.train_splits[0])


def prepare(recipe: Recipe, folder: Path, read: ReadFilm = read_film) -> TrainingData:
    """Find, check and split the films that `recipe` trains on. Every check runs before training starts.

    Raises:
        DataProblem: naming all problems of the rows at once, else all films that cannot be read.
    """
    examples = find_examples(recipe, folder)
    usable = [e for e in examples if e.split in recipe.train_splits and e.label in recipe.learned_labels]
    name = f"splits {', '.join(recipe.train_splits)}"
    reported = [e for e in examples if e.split in recipe.report_splits]
    refuse([
        *group_problems(examples),
        *twin_problems(usable),
        *repeat_problems(reported),
        *label_problems(usable, recipe.labels, name),
        *_other_problems(recipe, usable),
    ])  # fmt: skip
    data = split_by_group(usable, recipe.validation_share, np.random.default_rng(recipe.seed))
    refuse([
        *label_problems(data.train, recipe.labels, "training part"),
        *label_problems(data.validation, recipe.labels, "validation part"),
    ])  # fmt: skip
    check_films([*usable, *reported], read)
    return data


def _other_problems(recipe: Recipe, usable: Sequence[Example]) -> Iterator[str]:
    """Yield a sentence where the recipe has an output for other findings, and no film has one."""
    if recipe.other_label and not any(example.label in recipe.other_labels for example in usable):
        yield (
            f"The recipe '{recipe.name}' also learns what other findings look like "
            f"({', '.join(recipe.other_labels)}), and no film has one of these labels. Add such films, "
            "or train without them: --set other_label=null"
        )


def split_by_group(examples: list[Example], share: float, rng: np.random.Generator) -> TrainingData:
    """Take about `share` of the groups of each (label, pool), one at least, for validation; groups stay whole."""
    strata: dict[tuple[str, str], set[str]] = defaultdict(set)
    assigned: set[str] = set()
    for example in examples:
        if example.group not in assigned:
            strata[example.label, example.pool].add(example.group)
            assigned.add(example.group)
    chosen: set[str] = set()
    for key in sorted(strata):
        groups = sorted(strata[key])
        chosen.update(rng.permutation(groups)[: max(1, round(share * len(groups)))].tolist())
    return TrainingData(
        train=tuple(e for e in examples if e.group not in chosen),
        validation=tuple(e for e in examples if e.group in chosen),
    )
