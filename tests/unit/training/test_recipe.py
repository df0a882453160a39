"""Recipes are values: named, complete in JSON, refused where a knob is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import DataProblem
from shared.imaging.preprocess import PREPROCESSINGS
from training.recipe import Recipe, recipe_from_json
from training.recipes import RECIPES, find_recipe
from worker.engine.architecture import ARCHITECTURES


@pytest.mark.parametrize("name", RECIPES)
def test_json_and_back_changes_nothing(name: str) -> None:
    """Every named recipe survives JSON."""
    recipe = find_recipe(name)
    assert recipe_from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize("name", RECIPES)
def test_named_recipes_name_what_exists(name: str) -> None:
    """Architecture and preprocessing are in this build; nothing that is reported is learned from."""
    recipe = find_recipe(name)
    assert recipe.architecture in ARCHITECTURES
    assert recipe.preprocessing in PREPROCESSINGS
    assert not set(recipe.train_splits) & set(recipe.report_splits)


def test_held_out_splits_are_in_no_recipes_training() -> None:
    """test, test_adult, near_eval, external and ood are never learned from."""
    learned = {split for recipe in RECIPES.values() for split in recipe.train_splits}
    assert not learned & {"test", "test_adult", "near_eval", "external", "ood"}


def test_seed2020_is_the_studys_setup() -> None:
    """25 epochs of RMSprop on the train split, every film as it is."""
    recipe = find_recipe("seed2020")
    assert (recipe.epochs, recipe.optimizer, recipe.train_splits) == (25, "rmsprop", ("train",))
    assert (recipe.copies, recipe.balance) == (0, "none")


def test_unknown_recipe_is_told_which_there_are() -> None:
    """The message names the choices."""
    with pytest.raises(DataProblem, match="default, seed2020, tiny"):
        find_recipe("nope")


@pytest.mark.parametrize(
    ("change", "message"),
    [({"epochz": 3}, "epochz"), ({"epochs": "many"}, "epochs"), ({"augmentation": {"flip": 1}}, "augmentation.flip")],
)
def test_wrong_knob_is_named(change: dict[str, object], message: str) -> None:
    """An unknown knob or a value of the wrong type is refused by name."""
    text = json.dumps(json.loads(Recipe(name="mine").to_json()) | change)
    with pytest.raises(DataProblem, match=message):
        recipe_from_json(text)


@pytest.mark.parametrize("text", ["[]", "not json", "{}"])
def test_what_is_no_recipe_is_refused(text: str) -> None:
    """Another JSON value, no JSON, and a recipe without a name."""
    with pytest.raises(DataProblem):
        recipe_from_json(text)


def test_pretrained_weights_may_lie_elsewhere(tmp_path: Path) -> None:
    """By their whole path, for a recipe that has some; the rest of the recipe is as it was."""
    weights, default, study = tmp_path / "lite0.npz", find_recipe("default"), find_recipe("seed2020")
    moved = default.starting_from(weights)
    assert moved == replace(default, pretrained=str(weights))
    assert default.starting_from(None) == default
    assert study.starting_from(weights) == study


def test_the_digest_is_of_every_knob_but_the_place_of_weights() -> None:
    """The same through JSON, wherever the weights lie; another knob, however deep, is another digest."""
    recipe = find_recipe("default")
    assert recipe_from_json(recipe.to_json()).sha256 == recipe.sha256
    assert recipe.starting_from(Path("elsewhere.npz")).sha256 == recipe.sha256
    assert replace(recipe, learning_rate=1).sha256 == replace(recipe, learning_rate=1.0).sha256
    others = [
        replace(recipe, epochs=99),
        replace(recipe, augmentation=replace(recipe.augmentation, noise=99)),
        replace(recipe, pool_shares={"covA": 99}),
    ]
    assert len({recipe.sha256, *(other.sha256 for other in others)}) == 4
