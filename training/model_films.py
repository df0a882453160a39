"""Labelled films for a given model: from a CSV or from class folders, with the labels that this model accepts.

Called by `plainfilm model`'s `recalibrate`, `quantize` and `compare`.
"""

from __future__ import annotations

from pathlib import Path

from shared.errors import DataProblem
from shared.manifest import read_manifest
from training.class_layout import read_class_folders
from training.dataset import Example
from training.export import RECIPE_FILE
from training.film_checks import check_once
from training.manifest_csv import read_manifest_csv
from training.recipe import Recipe
from training.recipe_file import read_recipe
from training.splits import class_folders


def find_films(folder: Path, manifest: Path | None, folders: Path | None) -> tuple[Example, ...]:
    """Return the labelled films of a CSV, else of class folders, for the model in `folder`.

    Raises:
        DataProblem: the CSV or the folders cannot be read, a film has two rows, or a label is neither one of the
            model's nor one of other findings.
    """
    labels = accepted_labels(folder)
    if manifest is not None:
        films = read_manifest_csv(manifest, ("file", "label"), labels)
    elif folders is not None:
        films = read_class_folders(folders, class_folders(labels))
    else:
        raise DataProblem("No films are named.")
    check_once(films)
    return films


def accepted_labels(folder: Path) -> tuple[str, ...]:
    """Return the labels that a film may have for the model in `folder`.

    These are the model's own and, where it has an output for other findings, those of other findings.
    """
    manifest = read_manifest(folder)
    others = (*model_recipe(folder).other_labels, manifest.other_label) if manifest.other_label else ()
    return (*manifest.labels, *others)


def model_recipe(folder: Path) -> Recipe:
    """Return the recipe that the model was trained by; one with default knobs where its folder has none."""
    path = folder / RECIPE_FILE
    return read_recipe(path) if path.exists() else Recipe(name="unknown")
