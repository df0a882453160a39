"""Cross-validation of a recipe: k folds by group over the study's films, and each source left out in turn.

`plainfilm crossval` calls `cross_validate` and `leave_sources_out`, which write `crossval.json` and `loso.json` for
the report. `folds.py` divides the films into turns; `turns.py` trains and judges, turn by turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import TypeAdapter

from shared.manifest import Rate
from shared.model_report import CrossValidation, Estimate, Fold, LeftOut
from training.dataset import Example
from training.export import RECIPE_FILE
from training.features import Progress
from training.imagenet import read_pretrained
from training.metrics import Integers, confusion_matrix, estimate, macro_f1, share
from training.new_folder import write_whole
from training.recipe import Recipe
from training.report.folds import STUDY_SPLITS, Turn, describe_recipe, fold_recipe, make_folds, make_sources
from training.report.split import score_labels
from training.report.turns import FilmPrediction, TurnResult, run_turns
from training.splits import find_examples
from training.synth import write_films

CROSSVAL_FILE: Final = "crossval.json"
LOSO_FILE: Final = "loso.json"


def shorten(recipe: Recipe, epochs: int | None, copies: int | None) -> Recipe:
    """Return the recipe with other epochs or copies, where they are given; no more calibration copies than copies."""
    stored = recipe.copies if copies is None else copies
    return replace(
        recipe, epochs=epochs or recipe.epochs, copies=stored, calibration_copies=min(recipe.calibration_copies, stored)
    )


def find_data(recipe: Recipe, data: Path, out: Path) -> Path:
    """Return the data folder; for a recipe with drawn films, draw them into `out` as `training/run.py` does."""
    if not recipe.drawn_films:
        return data
    write_films(out / "films", {"train": recipe.drawn_films, "test": recipe.drawn_films // 2}, recipe.seed)
    return out / "films"


def cross_validate(asked: Recipe, used: Recipe, data: Path, out: Path, progress: Progress) -> CrossValidation:
    """Judge every film of the study once, and write `out/crossval.json`; results of turns are stored in `out/folds/`.

    Args:
        asked: the named recipe.
        used: the same recipe, perhaps with fewer epochs or copies.
        data: the data folder.

    Raises:
        DataProblem: the films cannot be used, or `out` holds turns of another plan.
    """
    recipe = fold_recipe(used)
    turns = make_folds(recipe, find_examples(recipe, data))
    results = _run(turns, recipe, data, out / "folds", progress)
    summary = summarise_folds(results, recipe.labels, describe_recipe(asked, recipe), describe_films(turns))
    document = summary.model_copy(update={"recipe_sha256": asked.sha256})
    write_whole(out / CROSSVAL_FILE, document.model_dump_json(indent=2) + "\n")
    return document


def leave_sources_out(asked: Recipe, used: Recipe, data: Path, out: Path, progress: Progress) -> list[LeftOut]:
    """Judge each source by a network trained without it, and write `out/loso.json`; turns are stored in `out/sources/`.

    The recipe is `used`, perhaps with fewer epochs or copies than `asked`. The output for other findings and the input
    gate are trained too, without the pool.

    Raises:
        DataProblem: the films cannot be used, or `out` holds turns of another plan.
    """
    turns = make_sources(used, find_examples(used, data))
    results = _run(turns, used, data, out / "sources", progress)
    recipe = describe_recipe(asked, used)
    rows = [row for result in results for row in summarise_source(result, recipe)]
    document = [row.model_copy(update={"recipe_sha256": asked.sha256}) for row in rows]
    write_whole(out / LOSO_FILE, TypeAdapter(list[LeftOut]).dump_json(document, indent=2).decode() + "\n")
    return document


def summarise_folds(results: Sequence[TurnResult], labels: Sequence[str], recipe: str, films: str) -> CrossValidation:
    """Return the document of all folds; accuracy, F1 and confusion are of all films together, each judged once."""
    judged = [_Judged.of(result.films, labels) for result in results]
    every = _Judged.of([film for result in results for film in result.films], labels)
    return CrossValidation(
        recipe=recipe,
        films=films,
        folds=[
            Fold(fold=number, accuracy=fold.accuracy, macro_f1=fold.macro_f1)
            for number, fold in enumerate(judged, start=1)
        ],
        accuracy=every.accuracy,
        macro_f1=every.macro_f1,
        by_label=score_labels(every.truth, every.chosen, every.groups, labels),
        confusion=every.confusion.tolist(),
    )


def summarise_source(result: TurnResult, recipe: str) -> list[LeftOut]:
    """Return one row for each label in the pool; without recall where the turn's network does not have the label."""
    return [_left_out(result, label, recipe) for label in sorted({film.label for film in result.films})]


def describe_films(turns: Sequence[Turn]) -> str:
    """Return a phrase with the number of films, their splits and groups, and the number of folds."""
    films: list[Example] = [film for turn in turns for film in turn.judged]
    groups = len({film.group for film in films})
    return f"{len(films)} films of splits {' and '.join(STUDY_SPLITS)} in {groups} groups, {len(turns)} folds"


def _left_out(result: TurnResult, label: str, recipe: str) -> LeftOut:
    films = [film for film in result.films if film.label == label]
    groups = [film.group for film in films]
    hits = np.array([film.choice == label for film in films], bool)
    return LeftOut(
        recipe=recipe,
        pool=result.name,
        label=label,
        recall=share(hits, groups) if label in result.labels else None,
        coverage=share(np.array([film.has_verdict for film in films], bool), groups),
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    """M judged films: label indices and forced choices (M,), and the group of each film."""

    truth: Integers
    chosen: Integers
    groups: tuple[str, ...]
    labels: int

    @classmethod
    def of(cls, films: Sequence[FilmPrediction], labels: Sequence[str]) -> _Judged:
        truth, chosen = (
            np.array([labels.index(name) for name in names], np.int64)
            for names in ((film.label for film in films), (film.choice for film in films))
        )
        return cls(truth, chosen, tuple(film.group for film in films), len(labels))

    @property
    def confusion(self) -> Integers:
        return confusion_matrix(self.truth, self.chosen, self.labels)

    @property
    def accuracy(self) -> Rate:
        return share(self.truth == self.chosen, self.groups)

    @property
    def macro_f1(self) -> Estimate:
        def value(films: Integers) -> float:
            return macro_f1(confusion_matrix(self.truth[films], self.chosen[films], self.labels))

        return estimate(value, self.groups)


def _run(turns: Sequence[Turn], recipe: Recipe, data: Path, folder: Path, progress: Progress) -> list[TurnResult]:
    """Run all turns, and write the recipe beside their results."""
    if not turns:
        return []
    pretrained = read_pretrained(data / recipe.pretrained, recipe.pretrained_sha256) if recipe.pretrained else {}
    results = run_turns(turns, folder, pretrained, progress)
    write_whole(folder / RECIPE_FILE, recipe.to_json() + "\n")
    return results
