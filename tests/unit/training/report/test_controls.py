"""Controls on films whose label is told by one thing alone: the control that sees it is right, the blind ones guess."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import DataProblem
from tests.models import RuleEngine, make_manifest
from training.dataset import Example
from training.fit import ignore
from training.recipe import LABELS
from training.recipes import find_recipe
from training.report.controls import _choose, measure_controls
from training.report.covers import border_mask, lungs_mask
from training.report.views import make_views, read_original_sizes
from training.splits import find_examples, prepare

ENGINE = RuleEngine(make_manifest(), ((0.05, 0.9, 0.05),))
RECIPE = replace(find_recipe("tiny"), drawn_films=0)
SIDE_PX = 64
PER_LABEL = {"train": 30, "test": 12}
GUESSED = 0.7
"""No guess gets as far: 36 films at a third each are right in 0.33 +- 0.08 of them."""


def draw(place: int, told_by: str, rng: np.random.Generator) -> np.ndarray:
    """Noise, with a pattern of the label in the lungs or in the border, evenly bright in all."""
    film = rng.integers(60, 190, (SIDE_PX, SIDE_PX))
    stripes = np.indices((SIDE_PX, SIDE_PX))[place % 2] // 8 % 2 if place < 2 else np.zeros((SIDE_PX, SIDE_PX), int)
    where = {"lungs": lungs_mask, "border": border_mask}.get(told_by)
    if where is not None:
        mask = where(SIDE_PX, SIDE_PX)
        film[mask] = np.where(stripes[mask] > 0, 230, 20) if place < 2 else 125
    return film.astype(np.uint8)


def make_data(folder: Path, told_by: str) -> Path:
    """Films of each label in both splits; `told_by` is 'lungs', 'border' or 'size' (of the original)."""
    rng = np.random.default_rng(3)
    plan = [(split, label) for split, count in PER_LABEL.items() for label in LABELS for _ in range(count)]
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "group", "split", "orig_width", "orig_height"])
        for number, (split, label) in enumerate(plan):
            place = LABELS.index(label)
            width = 512 * (1 + place) if told_by == "size" else 512
            Image.fromarray(draw(place, told_by, rng)).save(folder / f"{number}.png")
            writer.writerow([f"{number}.png", label, f"g{number}", split, width, 512])
    return folder


def on(folder: Path, split: str, model: float) -> dict[str, tuple[list[Example], float]]:
    """The films of that split, and what the model is said to have there."""
    return {split: ([film for film in find_examples(RECIPE, folder) if film.split == split], model)}


def measure(folder: Path, model: float) -> dict[str, tuple[float, bool]]:
    """Balanced accuracy of each control on the split 'test', and whether it is near the model's."""
    found = measure_controls(ENGINE, RECIPE, folder, ignore, on(folder, "test", model))
    assert {control.split for control in found} == {"test"}
    assert {control.accuracy.n for control in found} == {3 * PER_LABEL["test"]}
    return {control.name: (control.balanced_accuracy.value, control.is_near) for control in found}


def test_labels_told_by_the_border(tmp_path: Path) -> None:
    """Border and covered lungs are right and near the model."""
    found = measure(make_data(tmp_path, "border"), model=1.0)
    assert found["border_only"] == (1.0, True)
    assert found["lungs_blacked_out"] == (1.0, True)


def test_labels_told_by_the_lungs(tmp_path: Path) -> None:
    """With the lungs covered they cannot be told; the thumbnail tells them."""
    found = measure(make_data(tmp_path, "lungs"), model=0.95)
    assert found["lungs_blacked_out"][0] < GUESSED
    assert found["border_only"][0] < GUESSED
    assert found["thumbnail_16"] == (1.0, True)
    assert not found["border_only"][1]


def test_labels_told_by_the_original_size(tmp_path: Path) -> None:
    """Only the metadata tell them."""
    found = measure(make_data(tmp_path, "size"), model=0.95)
    assert found["metadata_only"] == (1.0, True)
    assert max(found[name][0] for name in ("lungs_blacked_out", "border_only", "thumbnail_16")) < GUESSED


def test_an_interval_holds_its_value(tmp_path: Path) -> None:
    """And the same films give the same numbers again."""
    folder = make_data(tmp_path, "lungs")
    once, again = (measure_controls(ENGINE, RECIPE, folder, ignore, on(folder, "test", 0.9)) for _ in range(2))
    assert once == again
    for control in once:
        assert control.balanced_accuracy.low <= control.balanced_accuracy.value <= control.balanced_accuracy.high
        assert control.model_balanced_accuracy == 0.9


def test_a_row_before_learning_sees_covered_films(tmp_path: Path) -> None:
    """A recipe with frozen rows lends a row to the control: 4 means of each of its 8 channels."""
    folder = make_data(tmp_path, "lungs")
    recipe = replace(RECIPE, frozen_until="conv1_bn")
    view = make_views(ENGINE.manifest, recipe, folder, ignore)[0]
    films = find_examples(recipe, folder)[:5]
    assert view.features(films).shape == (5, 4 * 8)
    assert "conv1_relu" in view.what
    assert np.array_equal(view.features(films), view.features(films))


def test_a_split_that_is_learned_from_is_refused(tmp_path: Path) -> None:
    """A control is not measured on its training films."""
    folder = make_data(tmp_path, "size")
    with pytest.raises(DataProblem, match="'train'"):
        measure_controls(ENGINE, RECIPE, folder, ignore, on(folder, "train", 0.9))


def test_a_split_without_films_is_refused(tmp_path: Path) -> None:
    """By name."""
    folder = make_data(tmp_path, "size")
    with pytest.raises(DataProblem, match="'external'"):
        measure_controls(ENGINE, RECIPE, folder, ignore, on(folder, "external", 0.9))


def test_films_kept_for_choosing_are_no_training_films(tmp_path: Path) -> None:
    """Where they are what there is to measure on, a control learns from the other groups of their split alone."""
    folder = make_data(tmp_path, "size")
    films = find_examples(RECIPE, folder)
    kept = prepare(RECIPE, folder).validation
    learned = _choose(films, RECIPE, LABELS, {"validation": kept})
    assert 0 < len(kept) < 3 * PER_LABEL["train"]
    assert {film.group for film in learned} == {film.group for film in films if film.split == "train"} - {
        film.group for film in kept
    }
    found = measure_controls(ENGINE, RECIPE, folder, ignore, {"validation": (kept, 0.9)})
    assert {(control.split, control.accuracy.n) for control in found} == {("validation", len(kept))}


def test_a_group_in_two_splits_is_refused(tmp_path: Path) -> None:
    """A leak would make every control look better."""
    folder = make_data(tmp_path, "size")
    text = (folder / "manifest.csv").read_text()
    (folder / "manifest.csv").write_text(text.replace(",g100,", ",g0,"))
    with pytest.raises(DataProblem, match="group g0"):
        measure_controls(ENGINE, RECIPE, folder, ignore, on(folder, "test", 0.9))


def test_original_sizes_are_those_of_the_manifest(tmp_path: Path) -> None:
    """A row without them is left to the film's own size; a folder without a manifest has none."""
    folder = make_data(tmp_path, "size")
    text = (folder / "manifest.csv").read_text()
    (folder / "manifest.csv").write_text(text.replace("0.png,covid19,g0,train,512,512", "0.png,covid19,g0,train,,"))
    sizes = read_original_sizes(RECIPE, folder)
    assert sizes[folder / "30.png"] == (1024, 512)
    assert folder / "0.png" not in sizes
    (folder / "manifest.csv").unlink()
    assert read_original_sizes(RECIPE, folder) == {}
