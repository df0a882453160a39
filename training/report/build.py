"""Measures everything about one model once and writes `model.json`, `report.html` and its saliency sheets.

`write_report` is the entry point, for `plainfilm evaluate --report` and for the end of a training run. The card is
written separately (`write_card`), since a report that lacks required parts is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shared.errors import DataProblem
from shared.manifest import WEIGHTS_FILE
from shared.model_report import (
    REPORT_FILE,
    Control,
    Epoch,
    ModelReport,
    OddInputs,
    Recalibration,
    SplitReport,
)
from training.dataset import Example, refuse
from training.evaluate import Answers, ask
from training.features import Progress
from training.film_checks import check_groups, check_once
from training.imagenet import read_pretrained
from training.learned import LearnedFilms, RecalibratedOn, check_unseen, read_learned, read_recalibrated
from training.manifest_csv import split_name_problems
from training.recipe import Recipe
from training.report.card import CARD_FILE, render
from training.report.controls import measure_controls
from training.report.extras import Extras
from training.report.facts import PAGE_FILE, Learning, read_history, read_learning, read_recipe
from training.report.goals import judge
from training.report.odd import measure_odd
from training.report.page import Shown, draw_page
from training.report.robustness import measure_robustness
from training.report.sheets import Bench, check_place, draw_sheet
from training.report.split import report_split
from training.report.statements import INTENDED_USE, describe_split, list_limits
from training.splits import find_examples, prepare
from worker.engine.base import Engine
from worker.engine.int8 import INT8_FILE
from worker.engine.keras_engine import load_engine
from worker.engine.keras_explainer import load_explainer

ODD_FOLDER: Final = "odd"
VALIDATION: Final = "validation"
ROBUSTNESS_SPLIT: Final = "test"
"""The split on which verdict flips are counted; where the report lacks it, its first split."""

Parts = Mapping[str, tuple[Example, ...]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Contents of a report.

    Attributes:
        splits: the splits to measure; by default those of the recipe that have films. 'validation' is the part that the
            recipe takes out of its training films.
        extras: results of other runs.
    """

    splits: tuple[str, ...] = ()
    extras: Extras = field(default_factory=Extras)


ALL: Final = Wanted()


def write_report(model: Path, data: Path, out: Path, progress: Progress, wanted: Wanted = ALL) -> ModelReport:
    """Measure the model in `model`; write `out/model.json`, `out/report.html` and `out/films/`; return the report.

    Args:
        data: the data folder that the model's recipe reads; its `odd/`, where there is one, holds odd inputs.

    Raises:
        DataProblem: the folder has no recipe, the films cannot be used, a group is in two splits, a named split has
            no films or was trained on, the model has used a film, the recipe's pretrained weights are missing, or
            `out` would put films into the project.
        ModelProblem: the model cannot be loaded.
    """
    check_place(out)
    engine, recipe = load_engine(model), read_recipe(model)
    examples = find_examples(recipe, data)
    check_groups(examples)
    parts = find_parts(recipe, data, examples, wanted.splits)
    check_once(film for films in parts.values() for film in films)
    used_films = _UsedFilms(read_learned(model), read_recalibrated(model))
    used_films.check(parts)
    if recipe.pretrained:  # the controls need them: said now, not after all films are measured
        read_pretrained(data / recipe.pretrained, recipe.pretrained_sha256)
    learning, history = read_learning(model, engine.manifest.weights_sha256), read_history(model)
    answers = {split: ask(engine, films, progress) for split, films in parts.items()}
    subject = _Subject(model, data, engine, recipe, examples, learning, history, used_films)
    report = _compose(subject, answers, parts, wanted.extras, progress)
    out.mkdir(parents=True, exist_ok=True)
    write_document(report, out)
    bench = Bench(load_explainer(model), out, data)
    sheets = [draw_sheet(split, split_answers, bench) for split, split_answers in answers.items()]
    page = draw_page(report, Shown(answers, sheets))
    (out / PAGE_FILE).write_text(page, encoding="utf-8")
    return report


def write_document(report: ModelReport, folder: Path) -> None:
    """Write `folder/model.json`."""
    (folder / REPORT_FILE).write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")


def write_card(report: ModelReport, folder: Path) -> None:
    """Write `folder/MODEL_CARD.md`.

    Raises:
        DataProblem: the report lacks a part that a card must have.
    """
    (folder / CARD_FILE).write_text(render(report), encoding="utf-8")


def find_parts(recipe: Recipe, data: Path, examples: tuple[Example, ...], splits: tuple[str, ...]) -> Parts:
    """Return the films of each split that is measured, in the order named.

    Raises:
        DataProblem: a named split was trained on, has no films or no valid name, or no split of the recipe has films.
    """
    refuse(list(split_name_problems(splits)))
    learned = [split for split in splits if split in recipe.train_splits]
    refuse([f"The model learned from split '{split}': it cannot be measured on." for split in learned])
    parts = {split: tuple(e for e in examples if e.split == split) for split in splits or recipe.report_splits}
    if VALIDATION in parts and not parts[VALIDATION]:
        parts[VALIDATION] = prepare(recipe, data).validation
    empty = [split for split, films in parts.items() if not films]
    if empty and (splits or len(empty) == len(parts)):
        raise DataProblem(f"There is no film of split {', '.join(empty)}.")
    return {split: films for split, films in parts.items() if films}


@dataclass(frozen=True, slots=True)
class _UsedFilms:
    """Records of the films that the model has used, as far as its folder has them."""

    learned: LearnedFilms | None
    recalibrated: RecalibratedOn | None

    def check(self, parts: Parts) -> None:
        """Check that no film that the model has used is measured, except in 'validation'."""
        uses = {
            digest: use
            for record in (self.recalibrated, self.learned)
            if record
            for digest, use in record.known.items()
        }
        check_unseen({split: films for split, films in parts.items() if split != VALIDATION}, uses)


@dataclass(frozen=True, slots=True)
class _Subject:
    """The model that is measured, with its recipe, its films and the records in its folder."""

    folder: Path
    data: Path
    engine: Engine
    recipe: Recipe
    examples: tuple[Example, ...]
    learning: Learning | None
    history: tuple[Epoch, ...]
    used_films: _UsedFilms


def _compose(
    subject: _Subject, answers: Mapping[str, Answers], parts: Parts, extras: Extras, progress: Progress
) -> ModelReport:
    engine, manifest, recipe = subject.engine, subject.engine.manifest, subject.recipe
    measured = {
        split: report_split(split_answers, manifest.labels, recipe.set_coverage, subject.data)
        for split, split_answers in answers.items()
    }
    robustness_split = ROBUSTNESS_SPLIT if ROBUSTNESS_SPLIT in parts else next(iter(parts))
    report = ModelReport(
        name=manifest.name,
        version=manifest.version,
        weights_sha256=manifest.weights_sha256,
        labels=manifest.labels,
        temperature=manifest.temperature,
        thresholds=manifest.thresholds,
        recipe=manifest.recipe,
        trained_at=manifest.trained_at,
        trained_on=manifest.trained_on,
        train_seconds=subject.learning.seconds if subject.learning else None,
        weights_bytes=sum(path.stat().st_size for path in _weights(subject.folder)),
        device=engine.device,
        split_method=describe_split(recipe, subject.examples),
        intended_use=INTENDED_USE,
        limits=list_limits(recipe, subject.examples),
        splits=measured,
        robustness=measure_robustness(engine, parts[robustness_split], robustness_split, progress),
        odd_inputs=_measure_odd(subject, progress),
        controls=_measure_controls(subject, measured, parts, progress),
        cross_validation=extras.cross_validation,
        leave_one_source_out=extras.leave_one_source_out,
        explanations=extras.explanations,
        goals=[],
        learned_films=len(subject.used_films.learned.known) if subject.used_films.learned else None,
        recalibration=_recalibration(subject.used_films.recalibrated),
        history=list(subject.history),
        kept_epoch=subject.learning.kept_epoch if subject.learning else None,
    )
    return report.model_copy(update={"goals": judge(report)})


def _recalibration(record: RecalibratedOn | None) -> Recalibration | None:
    if record is None:
        return None
    films = sum(record.films.values())
    return Recalibration(films=films, is_checked=bool(record.films_sha256), is_few=record.is_few)


def _measure_odd(subject: _Subject, progress: Progress) -> OddInputs | None:
    folder = subject.data / ODD_FOLDER
    return measure_odd(subject.engine, folder, progress) if folder.is_dir() else None


def _measure_controls(
    subject: _Subject, measured: Mapping[str, SplitReport], parts: Parts, progress: Progress
) -> list[Control]:
    """Measure the controls on every split that has films of the labels and was not trained on."""
    recipe = subject.recipe
    accuracies = {split: report.metrics.balanced_accuracy for split, report in measured.items()}
    by_split = {
        split: (parts[split], balanced)
        for split, balanced in accuracies.items()
        if balanced is not None and split not in recipe.train_splits
    }
    return measure_controls(subject.engine, recipe, subject.data, progress, by_split) if by_split else []


def _weights(folder: Path) -> Iterator[Path]:
    """Return the files that hold a model's weights: in float32 and, where it was quantized, their rounding to int8."""
    return (path for path in (folder / WEIGHTS_FILE, folder / INT8_FILE) if path.exists())
