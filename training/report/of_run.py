"""The end of a training run: cross-validation where the recipe asks for it, then the report on the model.

`plainfilm train` calls it when the model is finished. `plainfilm train --resume` repeats an interrupted report.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from shared.manifest import read_manifest
from training.features import Progress
from training.recipe import Recipe
from training.report.build import VALIDATION, Wanted, write_card, write_report
from training.report.card import find_missing
from training.report.crossval import CROSSVAL_FILE, cross_validate
from training.report.extras import Extras, read_extras
from training.report.facts import read_recipe
from training.run import films_folder
from training.runs import read_record
from training.splits import find_examples

CROSSVAL_FOLDER: Final = "crossval"


def report_run(out: Path, progress: Progress) -> list[str]:
    """Write `out/report.html`, `out/model.json` and, where no required part is missing, `out/MODEL_CARD.md`.

    Returns:
        The parts missing for a card, e.g. the external split after training on class folders.

    Raises:
        DataProblem: the folder is no run, or its films cannot be used.
    """
    recipe, record = read_recipe(out), read_record(out)
    data = films_folder(recipe, record.data, out)
    extras = _cross_validate(recipe, data, out, progress) if recipe.is_cross_validated else Extras()
    report = write_report(out, data, out, progress, Wanted(_splits(recipe, data), extras))
    missing = find_missing(report)
    if not missing:
        write_card(report, out)
    return missing


def _cross_validate(recipe: Recipe, data: Path, out: Path, progress: Progress) -> Extras:
    folder = out / CROSSVAL_FOLDER
    folder.mkdir(exist_ok=True)
    cross_validate(recipe, recipe, data, folder, progress)
    return read_extras(read_manifest(out), recipe, crossval=folder / CROSSVAL_FILE)


def _splits(recipe: Recipe, data: Path) -> tuple[str, ...]:
    """Return the recipe's report splits that have films; where none has, as with class folders, 'validation'."""
    present = {example.split for example in find_examples(recipe, data)}
    return tuple(split for split in recipe.report_splits if split in present) or (VALIDATION,)
