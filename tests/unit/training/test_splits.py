"""Validation films are taken by group, evenly, repeatably; nothing of another split is touched."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import DataProblem
from training.dataset import Example
from training.recipes import find_recipe
from training.splits import find_examples, prepare, split_by_group
from training.synth import write_films

TINY = find_recipe("tiny")


def make_rows() -> list[Example]:
    """Two labels of two pools, 40 groups of 3 films each."""
    return [
        Example(Path(f"{label}{pool}{group}{film}"), label, f"{label}{pool}{group}", "train", pool, "row")
        for label in ("normal", "covid19")
        for pool in ("a", "b")
        for group in range(40)
        for film in range(3)
    ]


def test_groups_go_whole_and_evenly() -> None:
    """A quarter of the groups of each label and pool, none of them torn."""
    data = split_by_group(make_rows(), 0.25, np.random.default_rng(1))
    assert not {e.group for e in data.train} & {e.group for e in data.validation}
    assert Counter((e.label, e.pool) for e in data.validation) == dict.fromkeys(
        [("normal", "a"), ("normal", "b"), ("covid19", "a"), ("covid19", "b")], 30
    )
    assert len(data.train) + len(data.validation) == len(make_rows())


def test_same_seed_gives_the_same_split() -> None:
    """The split follows from the seed alone."""
    first, second, other = (split_by_group(make_rows(), 0.1, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first == second
    assert first != other


def test_prepare_uses_the_recipes_splits_only(tmp_path: Path) -> None:
    """Films of other splits are neither learned from nor used for choosing."""
    write_films(tmp_path, {"train": 6, "test": 2}, seed=1)
    data = prepare(TINY, tmp_path)
    assert {e.split for e in data.train + data.validation} == {"train"}
    assert len(data.train + data.validation) == 18


def test_leak_fails_before_training(tmp_path: Path) -> None:
    """A group in two splits stops the run, even where only one of them is learned from."""
    manifest = write_films(tmp_path, {"train": 6, "test": 2}, seed=1)
    text = manifest.read_text().replace("s20,test", "s0,test")
    manifest.write_text(text)
    with pytest.raises(DataProblem, match="group s0 is in split 'test'"):
        prepare(TINY, tmp_path)


def test_class_without_films_fails_before_training(tmp_path: Path) -> None:
    """A class that has films in no learned split stops the run."""
    manifest = write_films(tmp_path, {"train": 6}, seed=1)
    manifest.write_text(manifest.read_text().replace("covid19", "tuberculosis"))
    with pytest.raises(DataProblem, match="the class 'covid19' has no film"):
        prepare(TINY, tmp_path)


def test_unreadable_film_fails_before_training(tmp_path: Path) -> None:
    """A damaged film stops the run and is named."""
    write_films(tmp_path, {"train": 6}, seed=1)
    (tmp_path / "images" / "s0004.png").write_bytes(b"damaged")
    with pytest.raises(DataProblem, match=r"manifest\.csv line 6: the film s0004\.png cannot be read"):
        prepare(TINY, tmp_path)


def test_data_folder_is_found_in_three_forms(tmp_path: Path) -> None:
    """The recipe's manifest, a manifest.csv, or one folder a class."""
    nested, flat, folders = tmp_path / "nested", tmp_path / "flat", tmp_path / "folders"
    write_films(nested / "cxr", {"train": 1}, seed=1)
    write_films(flat, {"train": 1}, seed=1)
    recipe = replace(TINY, manifest="cxr/manifest.csv")
    assert len(find_examples(recipe, nested)) == len(find_examples(recipe, flat)) == 3
    (folders / "COVID-19").mkdir(parents=True)
    (flat / "images" / "s0000.png").rename(folders / "COVID-19" / "COVID-19 (1).png")
    (example,) = find_examples(recipe, folders)
    assert (example.label, example.split) == ("covid19", "train")


def test_absent_data_folder_says_how_to_name_one(tmp_path: Path) -> None:
    """The message tells the option and the variable."""
    with pytest.raises(DataProblem, match="--data or PLAINFILM_DATA"):
        find_examples(TINY, tmp_path / "nowhere")
