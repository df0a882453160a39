"""Controls: classifiers without the relevant input. One that comes near the model shows a leak of the labels.

Each is trained on up to 1,500 of the recipe's training films and measured on the same splits as the model. Called by
the report; `covers.py` covers films, and `views.py` computes a control's features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from shared.errors import DataProblem
from shared.model_report import Control, Estimate
from training.dataset import Example
from training.features import Progress
from training.film_checks import check_films, check_groups, check_labels
from training.metrics import Integers, balanced_accuracy, confusion_matrix, estimate, share
from training.recipe import Recipe
from training.report.views import View, make_views
from training.splits import find_examples
from worker.engine.base import Engine

LARGEST_TRAINING: Final = 1500
NEAR: Final = 0.10
"""A control is near the model where its balanced accuracy is at most this much lower."""


Measured = Mapping[str, tuple[Sequence[Example], float]]
"""Split to its films and the model's balanced accuracy on them."""


def measure_controls(
    engine: Engine, recipe: Recipe, data: Path, progress: Progress, measured: Measured
) -> list[Control]:
    """Measure every control on every split of `measured`; films without one of the model's labels are left out.

    Args:
        engine: the model, for its labels and preprocessing.
        recipe: the model's recipe, for the training films and the frozen rows.
        data: the data folder.
        measured: one of the splits may be the validation films; no control is trained on a group in any of them.

    Raises:
        DataProblem: the films cannot be used; a split was trained on or has no film of the labels.
    """
    labels = engine.manifest.labels
    films_of = {split: [film for film in films if film.label in labels] for split, (films, _) in measured.items()}
    learned = _choose(find_examples(recipe, data), recipe, labels, films_of)
    controls: list[Control] = []
    for view in make_views(engine.manifest, recipe, data, progress):
        classifier = view.new_classifier(recipe.seed).fit(view.features(learned), _targets(learned, labels))
        for split, films in films_of.items():
            chosen = classifier.predict(view.features(films))
            controls.append(_control(view, split, films, labels, chosen, measured[split][1]))
    return controls


def _choose(
    examples: Sequence[Example], recipe: Recipe, labels: Sequence[str], measured: Mapping[str, Sequence[Example]]
) -> list[Example]:
    """Return the training films, drawn by the recipe's seed; they and the measured films are checked."""
    check_groups(examples)
    for split in set(measured) & set(recipe.train_splits):
        raise DataProblem(f"A control cannot be measured on split '{split}': it is learned from.")
    held_out = {film.group for films in measured.values() for film in films}
    pool = [film for film in examples if film.split in recipe.train_splits and film.group not in held_out]
    pool = [film for film in pool if film.label in labels]
    order = np.random.default_rng(recipe.seed).permutation(len(pool))[:LARGEST_TRAINING]
    learned = [pool[place] for place in order]
    check_labels(learned, labels, "controls' training films")
    for split, films in measured.items():
        if not films:
            raise DataProblem(f"No film of split '{split}' has one of the model's labels.")
    check_films([*learned, *(film for films in measured.values() for film in films)])
    return learned


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
    """Return balanced accuracy with its bootstrap interval; a resample without a label is measured on the others."""

    def value(films: Integers) -> float:
        return balanced_accuracy(confusion_matrix(truth[films], chosen[films], labels))

    return estimate(value, groups)
