"""A recipe as the command line names it: what is wrong with it is told by file, line and knob, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import DataProblem
from training.recipe_file import named_recipe, read_recipe, with_settings
from training.recipes import find_recipe


def write(folder: Path, text: str | bytes) -> Path:
    """A recipe file."""
    path = folder / "mine.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_of_a_recipe_is_that_recipe(tmp_path: Path) -> None:
    """What a model's folder holds can be named to make it again."""
    recipe = find_recipe("default")
    assert named_recipe(str(write(tmp_path, recipe.to_json()))) == recipe
    assert named_recipe("tiny") == find_recipe("tiny")


def test_all_wrong_knobs_are_named_with_their_lines(tmp_path: Path) -> None:
    """Two unknown knobs, one of them inside another, and a value of the wrong type."""
    text = '{"name": "x",\n"epoch": 3,\n"batch": "many",\n"augmentation": {\n"blurr": 1}}'
    with pytest.raises(DataProblem) as caught:
        read_recipe(write(tmp_path, text))
    lines = caught.value.detail.splitlines()
    assert lines[0] == "3 problems:"
    assert {line.strip().partition(":")[0] for line in lines[1:]} == {f"mine.json line {n}" for n in (2, 3, 5)}
    assert "there is no knob 'epoch'" in caught.value.detail
    assert "there is no knob 'augmentation.blurr'" in caught.value.detail


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "x",\n "epochs": 3,,}', r"mine\.json line 2: no JSON"),
        ("[1]", r"mine\.json: the recipe: input should be an object"),
        ("{}", r"mine\.json: name: field required"),
        (b"\xff\xfe", r"mine\.json cannot be read"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, text: str | bytes, message: str) -> None:
    """No JSON, no object, no name, no text."""
    with pytest.raises(DataProblem, match=message):
        read_recipe(write(tmp_path, text))


def test_an_absent_file_and_an_unknown_name_are_named(tmp_path: Path) -> None:
    """The message says what was looked for, and which names there are."""
    with pytest.raises(DataProblem, match=r"gone\.json cannot be read"):
        named_recipe(str(tmp_path / "gone.json"))
    with pytest.raises(DataProblem, match="'best'; there are default, seed2020, tiny"):
        named_recipe("best")


def test_single_knobs_are_set_otherwise() -> None:
    """Numbers, null, text and knobs inside knobs; all others stay, and the name tells of it."""
    changed = named_recipe("default", ["epochs=3", "other_label=null", "optimizer=rmsprop", "augmentation.blur_px=0"])
    default = find_recipe("default")
    assert (changed.epochs, changed.other_label, changed.optimizer) == (3, None, "rmsprop")
    assert changed.augmentation.blur_px == 0
    assert (changed.name, changed.seed, changed.augmentation.noise) == (
        "default-changed", default.seed, default.augmentation.noise,
    )  # fmt: skip
    assert with_settings(default, ["name=mine"]).name == "mine"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epoch=3", "no knob 'epoch'"),
        ("epochs", "--set epochs: it should be knob=value"),
        ("labels.first=x", "'labels' has no knobs"),
        ("optimizer=sgd", "optimizer: input should be 'adamw' or 'rmsprop'"),
    ],
)
def test_a_wrong_setting_is_named(setting: str, message: str) -> None:
    """Before anything is read or learned."""
    with pytest.raises(DataProblem, match=message):
        named_recipe("tiny", [setting])
