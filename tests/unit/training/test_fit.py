"""What an epoch draws from: with or without the films as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import DataProblem
from training.features import Stored
from training.fit import fit
from training.recipes import find_recipe
from training.splits import TrainingData, prepare
from training.state import NoCheckpoints
from training.synth import write_films

RECIPE = replace(find_recipe("tiny"), drawn_films=0, epochs=1, copies=1)


class BlankOriginals(NoCheckpoints):
    """Gives the learning films' originals as nothing but NaN, so that a step on one cannot be missed."""

    def features(self, name: str, make: Callable[[], Stored]) -> Stored:
        """Form 0 blank, for learning only."""
        stored = make()
        if name == "train":
            stored[:, 0] = np.nan
        return stored


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """Drawn films, eight a class."""
    folder = tmp_path_factory.mktemp("films")
    write_films(folder, {"train": 8}, seed=3)
    return prepare(RECIPE, Path(folder))


@pytest.mark.parametrize("learns_originals", [True, False])
def test_originals_are_drawn_only_where_the_recipe_says_so(films: TrainingData, *, learns_originals: bool) -> None:
    """Blank originals spoil the loss of a recipe that learns from them, which is told, and leave the other's alone."""
    recipe = replace(RECIPE, learns_originals=learns_originals)
    if learns_originals:
        with pytest.raises(DataProblem, match="The loss is no number any more in epoch 1"):
            fit(recipe, films, checkpoints=BlankOriginals())
    else:
        assert np.isfinite(fit(recipe, films, checkpoints=BlankOriginals()).history[0].train_loss)


def test_a_recipe_with_nothing_to_learn_from_is_refused(films: TrainingData) -> None:
    """Neither originals nor copies: said before anything is stored."""
    with pytest.raises(DataProblem, match="set copies to 1"):
        fit(replace(RECIPE, learns_originals=False, copies=0), films)
