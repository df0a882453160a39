"""A recipe as given on the command line: by name or JSON file, with single knobs overridden."""

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
    """Return the recipe of that name, or of that file where the name ends in '.json', with `settings` ('knob=value').

    Raises:
        DataProblem: there is no such recipe or file, or knobs are not valid, each named with its line.
    """
    recipe = read_recipe(Path(name)) if name.endswith(".json") else find_recipe(name)
    return with_settings(recipe, settings) if settings else recipe


def read_recipe(path: Path) -> Recipe:
    """Return the recipe of a JSON file.

    Raises:
        DataProblem: the file cannot be read, is no JSON, or has an unknown knob or a value of the wrong type; with the
            line where it is known.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataProblem(f"The recipe file {path.name} cannot be read.", path=str(path)) from error
    try:
        return TypeAdapter(Recipe).validate_json(text)
    except ValidationError as error:
        refuse([f"{path.name}{_line_of(text, detail)}: {_sentence(detail)}" for detail in error.errors()])
        raise


def with_settings(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """Return the recipe, renamed, with single knobs overridden, e.g. 'epochs=3' or 'augmentation.blur_px=0'.

    A value is parsed as JSON, and taken as plain text where it is none: `null` switches a knob off.

    Raises:
        DataProblem: there is no such knob, or a value is of the wrong type.
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
        refuse([f"--set: {_sentence(detail)}" for detail in error.errors()])
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


def _line_of(text: str, detail: ErrorDetails) -> str:
    """Return ' line 7', where a problem is in a JSON text; '' where that is not known."""
    if detail["type"] == "json_invalid":
        return "".join(re.findall(r" line \d+", detail["msg"])[:1])
    name = next((part for part in reversed(detail["loc"]) if isinstance(part, str)), None)
    lines = (number for number, line in enumerate(text.splitlines(), start=1) if name and f'"{name}"' in line)
    number = next(lines, None)
    return f" line {number}" if number else ""


def _sentence(detail: ErrorDetails) -> str:
    knob = ".".join(map(str, detail["loc"]))
    if detail["type"] == "unexpected_keyword_argument":
        return f"there is no knob '{knob}'."
    if detail["type"] == "json_invalid":
        return f"no JSON ({detail['msg'].removeprefix('Invalid JSON: ')})."
    return f"{knob or 'the recipe'}: {detail['msg'].lower()}."
