"""Divides films into the turns of a cross-validation: by group, seeded, checked for leaks. Values only, no effects.

There are two kinds: k folds over the study's films, where every film is judged once; and each source left out in turn.
Called by `crossval.py`; `turns.py` trains.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations
from typing import Final

import numpy as np

from shared.errors import DataProblem
from training.dataset import Example
from training.film_checks import check_groups, check_labels
from training.metrics import Integers
from training.recipe import Recipe
from training.splits import TrainingData, split_by_group

FOLDS: Final = 5
STUDY_SPLITS: Final = ("train", "test")
"""Together the 2020 study's 1,389 films."""

LEAST_LABELS: Final = 2
"""Labels that a network needs at least."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One network of a cross-validation.

    Attributes:
        name: of the fold or of the pool left out.
        recipe: the network's recipe, with only those labels that have films.
        data: its training and validation films.
        judged: its held-out films; none of their groups is in `data`.
    """

    name: str
    recipe: Recipe
    data: TrainingData
    judged: tuple[Example, ...]


def make_folds(recipe: Recipe, examples: Sequence[Example]) -> list[Turn]:
    """Return `FOLDS` turns over the study's films with one of the labels of `recipe`, which `fold_recipe` returned.

    Raises:
        DataProblem: a group is in two splits, or a label has too few groups.
    """
    check_groups(examples)
    films = [e for e in examples if e.split in STUDY_SPLITS and e.label in recipe.labels]
    check_labels(films, recipe.labels, f"splits {', '.join(STUDY_SPLITS)}")
    places = assign_folds(films, FOLDS, np.random.default_rng(recipe.seed))
    turns = []
    for fold in range(FOLDS):
        judged = tuple(film for film, place in zip(films, places, strict=True) if place == fold)
        learned = [film for film, place in zip(films, places, strict=True) if place != fold]
        turns.append(_turn(f"fold {fold + 1}", recipe, learned, judged))
    return turns


def make_sources(recipe: Recipe, examples: Sequence[Example]) -> list[Turn]:
    """Return one turn for each named pool of the recipe's training films: the pool is left out of training, and judged.

    A label whose only pool is left out is no label of that turn's network; where no film with an other finding is left,
    the network has no output for it. A pool without which fewer than two labels have films is not left out.

    Raises:
        DataProblem: a group is in two splits, or a label has too few groups.
    """
    check_groups(examples)
    films = [e for e in examples if e.split in recipe.train_splits and e.label in recipe.learned_labels]
    turns = []
    for pool in sorted({film.pool for film in films} - {""}):
        judged = tuple(film for film in films if film.pool == pool)
        groups = {film.group for film in judged}
        learned = [film for film in films if film.pool != pool and film.group not in groups]
        reduced = _reduce(recipe, learned)
        if len(reduced.labels) >= LEAST_LABELS:
            turns.append(_turn(pool, reduced, learned, judged))
    return turns


def fold_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe for the study's films alone: without an output for other findings and without a gate.

    Most pools are absent, so that balancing by shares of pools becomes balancing by label.
    """
    balance = "label" if recipe.balance == "shares" else recipe.balance
    return replace(recipe, other_label=None, gate_layer=None, balance=balance)


def assign_folds(films: Sequence[Example], folds: int, rng: np.random.Generator) -> Integers:
    """Return a fold for each film, (N,) in [0, folds): groups stay whole, each label and pool is spread evenly.

    Groups are dealt largest first, in random order among groups of equal size, each to the fold that has fewest films
    of its label and pool so far, then fewest films.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for place, film in enumerate(films):
        members[film.group].append(place)
    names = sorted(members)
    order = sorted((names[place] for place in rng.permutation(len(names))), key=lambda name: -len(members[name]))
    by_stratum: Counter[tuple[int, str, str]] = Counter()
    total: Counter[int] = Counter()
    assigned = np.empty(len(films), np.int64)
    for name in order:
        first = films[members[name][0]]
        fold = min(range(folds), key=lambda k: (by_stratum[k, first.label, first.pool], total[k], k))
        by_stratum[fold, first.label, first.pool] += len(members[name])
        total[fold] += len(members[name])
        assigned[members[name]] = fold
    return assigned


def check_apart(turn: Turn) -> None:
    """Check that no group and no file is in two of the turn's parts: training, validation and held-out films.

    Raises:
        DataProblem: naming the turn and both rows.
    """
    parts = (turn.data.train, turn.data.validation, turn.judged)
    for one, other in combinations(parts, 2):
        seen = {film.group: film for film in one} | {str(film.path): film for film in one}
        for film in other:
            twin = seen.get(film.group) or seen.get(str(film.path))
            if twin is not None:
                raise DataProblem(f"{turn.name}: {film.where} and {twin.where} share group or file across its parts.")


def describe_recipe(asked: Recipe, used: Recipe) -> str:
    """Return the recipe's name, followed by each knob that differs from it."""
    knobs = [(field.name, getattr(asked, field.name), getattr(used, field.name)) for field in fields(Recipe)]
    changed = [f"{name} {new} instead of {old}" for name, old, new in knobs if new != old]
    return ", ".join([asked.name, *changed])


def _turn(name: str, recipe: Recipe, learned: list[Example], judged: tuple[Example, ...]) -> Turn:
    data = split_by_group(learned, recipe.validation_share, np.random.default_rng(recipe.seed))
    check_labels(data.train, recipe.labels, f"{name}, training part")
    check_labels(data.validation, recipe.labels, f"{name}, validation part")
    turn = Turn(name, recipe, data, judged)
    check_apart(turn)
    return turn


def _reduce(recipe: Recipe, films: Sequence[Example]) -> Recipe:
    """Return the recipe without the labels and without the output for other findings that no film is left for."""
    left = {film.label for film in films}
    has_other = any(label in left for label in recipe.other_labels)
    return replace(
        recipe,
        labels=tuple(label for label in recipe.labels if label in left),
        other_label=recipe.other_label if has_other else None,
    )
