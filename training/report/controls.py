"""Classifiers that lack what should matter: where one comes near the model, the films' labels leak past the lungs.

Each learns from up to 1,500 of the recipe's training films and is measured on the splits the model is measured on.
Called by the report; covered films come from `covers.py`, what a control sees of a film from `views.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from shared.errors import DataProblem
from shared.model_report import Control, Estimate
from training.dataset import Example, check_films, check_groups, check_labels
from training.features import Progress
from training.metrics import Integers, balanced_accuracy, bootstrap, confusion_matrix, share
from training.recipe import Recipe
from training.report.views import View, make_views
from training.splits import find_examples
from worker.engine.base import Engine

LARGEST_TRAINING: Final = 1500
NEAR: Final = 0.10
"""A control within this distance of the model's balanced accuracy is near it."""


def measure_controls(
    engine: Engine, recipe: Recipe, data: Path, progress: Progress, model_balanced: Mapping[str, float]
) -> list[Control]:
    """Every control on every split of `model_balanced`; films without one of the model's labels play no part.

    Args:
        engine: the model, for its labels and preprocessing.
        recipe: what it was made by, for the training films and the frozen rows.
        data: the data folder.
        model_balanced: split to the model's balanced accuracy on it.

    Raises:
        DataProblem: the films cannot be used; a split was learned from or has no film of the labels.
    """
    labels = engine.manifest.labels
    examples = [example for example in find_examples(recipe, data) if example.label in labels]
    learned, measured = _choose(examples, recipe, labels, tuple(model_balanced))
    controls: list[Control] = []
    for view in make_views(engine.manifest, recipe, data, progress):
        judge = view.new_judge(recipe.seed).fit(view.look(learned), _targets(learned, labels))
        for split, films in measured.items():
            chosen = judge.predict(view.look(films))
            controls.append(_control(view, split, films, labels, chosen, model_balanced[split]))
    return controls


def _choose(
    examples: Sequence[Example], recipe: Recipe, labels: Sequence[str], splits: Sequence[str]
) -> tuple[list[Example], dict[str, list[Example]]]:
    """The films to learn from, drawn by the recipe's seed, and those of each split; all checked."""
    check_groups(examples)
    for split in set(splits) & set(recipe.train_splits):
        raise DataProblem(f"A control cannot be measured on split '{split}': it is learned from.")
    pool = [example for example in examples if example.split in recipe.train_splits]
    order = np.random.default_rng(recipe.seed).permutation(len(pool))[:LARGEST_TRAINING]
    learned = [pool[place] for place in order]
    measured = {split: [example for example in examples if example.split == split] for split in splits}
    check_labels(learned, labels, "controls' training films")
    for split, films in measured.items():
        if not films:
            raise DataProblem(f"No film of split '{split}' has one of the model's labels.")
    check_films([*learned, *(film for films in measured.values() for film in films)])
    return learned, measured


def _targets(films: Sequence[Example], labels: Sequence[str]) -> Integers:
    return np.array([labels.index(film.label) for film in films], np.int64)


def _control(  # noqa: PLR0913, PLR0917 - one call, in one place
    view: View, split: str, films: Sequence[Example], labels: Sequence[str], chosen: Integers, of_model: float
) -> Control:
    truth, groups = _targets(films, labels), [film.group for film in films]
    balanced = _estimate(truth, chosen, len(labels), groups)
    return Control(
        name=view.name,
        split=split,
        accuracy=share(truth == chosen, groups),
        balanced_accuracy=balanced,
        model_balanced_accuracy=of_model,
        is_near=balanced.value >= of_model - NEAR,
        what=view.what,
    )


def _estimate(truth: Integers, chosen: Integers, labels: int, groups: Sequence[str]) -> Estimate:
    """Balanced accuracy with its bootstrap interval; a draw without a label is judged on the others."""

    def value(films: Integers) -> float:
        return balanced_accuracy(confusion_matrix(truth[films], chosen[films], labels))

    low, high = bootstrap(value, groups)
    return Estimate(value=value(np.arange(len(truth))), n=len(truth), low=low, high=high)
