"""Who learns and who is judged: groups stay whole, sources go whole, leaks stop the run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DataProblem
from training.dataset import Example
from training.recipe import LABELS, Recipe
from training.report.folds import (
    FOLDS,
    assign_folds,
    check_apart,
    describe_recipe,
    fold_recipe,
    make_folds,
    make_sources,
)

RECIPE = Recipe(name="r", validation_share=0.25, seed=5)
FOUR = replace(
    RECIPE,
    other_label="other_finding",
    gate_layer="conv1_relu",
    balance="shares",
    pool_shares={"a": 0.5},
    train_splits=("train",),
)


def make_film(number: int, label: str, **changes: str) -> Example:
    """A film that is a group of its own unless told otherwise."""
    fields = {"group": f"g{number}", "split": "train", "pool": ""} | changes
    return Example(Path(f"{number}.png"), label, fields["group"], fields["split"], fields["pool"], f"row {number}")


def make_study(per_label: int = 20) -> list[Example]:
    """Films of each label, every third of the split 'test', and one that is no film of the study."""
    films = [
        make_film(10 * number + place, label, split="test" if number % 3 == 0 else "train")
        for place, label in enumerate(LABELS)
        for number in range(per_label)
    ]
    return [*films, make_film(9999, "normal", split="external")]


films_in_groups = st.lists(
    st.tuples(st.sampled_from(LABELS), st.integers(0, 12), st.sampled_from(["", "a", "b"])), min_size=1, max_size=60
)


@given(films_in_groups, st.integers(2, 6), st.integers(0, 3))
def test_no_group_crosses_folds(rows: list[tuple[str, int, str]], folds: int, seed: int) -> None:
    """Whatever the groups: one fold each, every film in one, and the same folds from the same seed."""
    films = [make_film(n, label, group=f"g{group}", pool=pool) for n, (label, group, pool) in enumerate(rows)]
    found, again = (assign_folds(films, folds, np.random.default_rng(seed)) for _ in range(2))
    homes: dict[str, set[int]] = {}
    for film, fold in zip(films, found.tolist(), strict=True):
        homes.setdefault(film.group, set()).add(fold)
    assert all(len(home) == 1 for home in homes.values())
    assert set(found.tolist()) <= set(range(folds))
    assert np.array_equal(found, again)


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=60), st.integers(0, 3))
def test_single_films_are_spread_evenly(labels: list[str], seed: int) -> None:
    """Of films that are each a group of their own, no two folds differ by more than one film of a label."""
    films = [make_film(number, label) for number, label in enumerate(labels)]
    found = assign_folds(films, FOLDS, np.random.default_rng(seed))
    for label in set(labels):
        counts = Counter(fold for fold, film in zip(found.tolist(), films, strict=True) if film.label == label)
        sizes = [counts[fold] for fold in range(FOLDS)]
        assert max(sizes) - min(sizes) <= 1


def test_pools_of_a_label_are_spread_too() -> None:
    """Ten films of each of two pools: two of each in every fold."""
    films = [make_film(number, "normal", pool="ab"[number % 2]) for number in range(20)]
    found = assign_folds(films, FOLDS, np.random.default_rng(0))
    cells = Counter(zip(found.tolist(), (film.pool for film in films), strict=True))
    assert set(cells.values()) == {2}


def test_another_seed_deals_otherwise() -> None:
    """The draw is the seed's."""
    films = [make_film(number, "normal") for number in range(40)]
    one, other = (assign_folds(films, FOLDS, np.random.default_rng(seed)) for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_every_study_film_is_judged_once() -> None:
    """60 films of train and test in five folds of 12; the external film takes no part anywhere."""
    turns = make_folds(RECIPE, make_study())
    judged = [film for turn in turns for film in turn.judged]
    assert Counter(len(turn.judged) for turn in turns) == {12: FOLDS}
    assert {film.path for film in judged} == {film.path for film in make_study() if film.split != "external"}
    assert len(judged) == len(set(judged)) == 60
    for turn in turns:
        assert len(turn.data.train) + len(turn.data.validation) + len(turn.judged) == 60
        assert all(film.split != "external" for film in (*turn.data.train, *turn.data.validation))


def test_a_group_in_two_splits_fails_the_folds() -> None:
    """Both splits belong to the study, and still it is a fault of the manifest."""
    films = [*make_study(), make_film(1, "normal", group="leak"), make_film(2, "normal", group="leak", split="test")]
    with pytest.raises(DataProblem, match="group leak"):
        make_folds(RECIPE, films)


def test_a_label_with_too_few_groups_fails_the_folds() -> None:
    """One film of a label cannot be learned from where it is judged."""
    films = [film for film in make_study() if film.label != "covid19"] + [make_film(7777, "covid19")]
    with pytest.raises(DataProblem, match="'covid19' has no film"):
        make_folds(RECIPE, films)


@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_leak_into_a_turn_fails_it(part: str) -> None:
    """A judged film's group among those learned from, or chosen by, is named with both rows."""
    turn = make_folds(RECIPE, make_study())[0]
    film = turn.judged[0]
    twin = replace(film, path=Path("twin.png"), where="row of the twin")
    leaky = replace(turn.data, **{part: (*getattr(turn.data, part), twin)})
    with pytest.raises(DataProblem, match=f"{film.where} and row of the twin"):
        check_apart(replace(turn, data=leaky))
    check_apart(turn)


def test_the_same_file_under_two_groups_fails_a_turn() -> None:
    """A film listed twice is a leak too."""
    turn = make_folds(RECIPE, make_study())[0]
    again = replace(turn.judged[0], group="another")
    with pytest.raises(DataProblem, match="share group or file"):
        check_apart(replace(turn, data=replace(turn.data, train=(*turn.data.train, again))))


def test_folds_show_three_labels_only() -> None:
    """No other output, no gate, labels drawn evenly where pools were weighted; else as the recipe has it."""
    assert fold_recipe(FOUR) == replace(FOUR, other_label=None, gate_layer=None, balance="label")
    assert fold_recipe(RECIPE) == RECIPE


def make_sources_study() -> list[Example]:
    """Pools: a and b of covid19, n of normal, v of viral pneumonia, t and u of other findings; normal films of none."""
    labels = {"a": "covid19", "b": "covid19", "n": "normal", "v": "viral_pneumonia", "t": "tuberculosis"}
    labels |= {"u": "other_pneumonia"}
    films = [
        make_film(100 * place + number, label, pool=pool)
        for place, (pool, label) in enumerate(labels.items())
        for number in range(8)
    ]
    unnamed = [make_film(7000 + number, "normal") for number in range(4)]
    return [*films, *unnamed, make_film(7777, "covid19", pool="a", split="test")]


def test_a_source_goes_whole() -> None:
    """Each named pool is judged in its turn, by a network that learned from no film of it; test films play no part."""
    turns = {turn.name: turn for turn in make_sources(FOUR, make_sources_study())}
    assert set(turns) == {"a", "b", "n", "v", "t", "u"}
    for pool, turn in turns.items():
        learned = (*turn.data.train, *turn.data.validation)
        assert {film.pool for film in turn.judged} == {pool}
        assert pool not in {film.pool for film in learned}
        assert len(turn.judged) == 8
        assert len(learned) == 44


def test_a_label_without_its_only_source_is_dropped() -> None:
    """Without v there is no viral pneumonia; without n normal films of no pool are left; a leaves b."""
    labels = {turn.name: turn.recipe.labels for turn in make_sources(FOUR, make_sources_study())}
    assert labels["v"] == ("covid19", "normal")
    assert labels["a"] == labels["n"] == LABELS
    assert labels["t"] == LABELS


def test_an_other_finding_without_its_only_source_is_dropped() -> None:
    """With both other pools one is left to learn from; with one, none."""
    films = [film for film in make_sources_study() if film.pool != "u"]
    others = {turn.name: turn.recipe.other_label for turn in make_sources(FOUR, films)}
    assert (others["t"], others["a"]) == (None, "other_finding")
    assert all(turn.recipe.other_label for turn in make_sources(FOUR, make_sources_study()))


def test_a_group_of_two_sources_is_not_learned_from() -> None:
    """Leaving pool a out takes along a film of pool b that shares a group with it."""
    films = [*make_sources_study(), make_film(8000, "covid19", pool="b", group="g0")]
    turn = next(turn for turn in make_sources(FOUR, films) if turn.name == "a")
    assert all(film.group != "g0" for film in (*turn.data.train, *turn.data.validation))
    assert len((*turn.data.train, *turn.data.validation)) == 44


def test_nothing_can_be_left_out_of_one_source() -> None:
    """A network needs two labels."""
    films = [make_film(number, LABELS[number % 3], pool="all") for number in range(30)]
    assert make_sources(RECIPE, films) == []


def test_a_recipe_tells_what_is_not_its_own() -> None:
    """Each knob that differs, with both values."""
    used = replace(fold_recipe(FOUR), epochs=3)
    told = describe_recipe(FOUR, used)
    assert told.startswith("r, ")
    assert "epochs 3 instead of 10" in told
    assert "gate_layer None instead of conv1_relu" in told
    assert "balance label instead of shares" in told
    assert describe_recipe(RECIPE, RECIPE) == "r"
