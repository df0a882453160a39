"""A recipe as the command line names it: by name, by a JSON file of knobs, and with single knobs set otherwise."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from shared.errors import DataProblem
from training.dataset import refuse
from training.recipe import Recipe
from training.recipes import find_recipe


def named_recipe(name: str, settings: Sequence[str] = ()) -> Recipe:
    """The recipe of that name, or of the JSON file where the name ends so, with `settings` ('knob=value') changed.

    Raises:
        DataProblem: no such recipe or file, or knobs that are not right, each named with its line.
    """
    recipe = read_recipe(Path(name)) if name.endswith(".json") else find_recipe(name)
    return with_settings(recipe, settings) if settings else recipe


def read_recipe(path: Path) -> Recipe:
    """The recipe of a JSON file.

    Raises:
        DataProblem: unreadable, no JSON, an unknown knob or a value of the wrong type; with line where there is one.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataProblem(f"The recipe file {path.name} cannot be read.", path=str(path)) from error
    try:
        return TypeAdapter(Recipe).validate_json(text)
    except ValidationError as error:
        refuse([f"{path.name}{_line_of(text, found)}: {_sentence(found)}" for found in error.errors()])
        raise


def with_settings(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe with single knobs changed, e.g. 'epochs=3' or 'augmentation.blur_px=0'; its name then says so.

    A value is read as JSON, and as plain text where it is none: `null` switches a knob off.

    Raises:
        DataProblem: no such knob, or a value of the wrong type.
    """
    knobs = asdict(replace(recipe, name=f"{recipe.name}-changed"))
    refuse([f"--set {setting}: it should be knob=value." for setting in settings if "=" not in setting])
    for setting in settings:
        knob, _, value = setting.partition("=")
        *outer, last = knob.strip().split(".")
        _within(knobs, outer)[last] = _value(value.strip())
    try:
        return TypeAdapter(Recipe).validate_json(json.dumps(knobs))
    except ValidationError as error:
        refuse([f"--set: {_sentence(found)}" for found in error.errors()])
        raise


def _within(knobs: dict[str, Any], outer: Sequence[str]) -> dict[str, Any]:  # Any: knobs of every kind
    for name in outer:
        inner = knobs.get(name)
        if not isinstance(inner, dict):
            raise DataProblem(f"--set: '{name}' has no knobs of its own.")
        knobs = inner
    return knobs


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _line_of(text: str, found: ErrorDetails) -> str:
    """' line 7' of the knob in a JSON text, as far as it can be told."""
    if found["type"] == "json_invalid":
        return "".join(re.findall(r" line \d+", found["msg"])[:1])
    name = next((part for part in reversed(found["loc"]) if isinstance(part, str)), None)
    lines = (number for number, line in enumerate(text.splitlines(), start=1) if name and f'"{name}"' in line)
    number = next(lines, None)
    return f" line {number}" if number else ""


def _sentence(found: ErrorDetails) -> str:
    knob = ".".join(map(str, found["loc"]))
    if found["type"] == "unexpected_keyword_argument":
        return f"there is no knob '{knob}'."
    if found["type"] == "json_invalid":
        return f"no JSON ({found['msg'].removeprefix('Invalid JSON: ')})."
    return f"{knob or 'the recipe'}: {found['msg'].lower()}."
