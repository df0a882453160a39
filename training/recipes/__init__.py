"""The named recipes; each file states what its recipe trains and the numbers to expect."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from shared.errors import DataProblem
from training.recipe import Recipe
from training.recipes import default, seed2020, tiny

RECIPES: Final[Mapping[str, Recipe]] = MappingProxyType(
    {recipe.name: recipe for recipe in (default.RECIPE, seed2020.RECIPE, tiny.RECIPE)}
)


def find_recipe(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises:
        DataProblem: there is no such recipe.
    """
    try:
        return RECIPES[name]
    except KeyError:
        message = f"There is no recipe '{name}'; there are {', '.join(sorted(RECIPES))}."
        raise DataProblem(message) from None
