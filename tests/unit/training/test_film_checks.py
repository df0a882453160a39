"""Films that would spoil a run are refused before it starts, each by its row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import DataProblem
from training.dataset import Example
from training.film_checks import check_films, check_groups, check_labels, twin_problems
from training.recipe import LABELS


def make_example(**changes: str) -> Example:
    """A row; any field can be changed."""
    fields = {"label": "normal", "group": "g1", "split": "train", "pool": "", "where": "films.csv line 2"} | changes
    return Example(path=Path("a.png"), **fields)


def test_group_in_two_splits_is_named_with_both_rows() -> None:
    """One patient on both sides of a split fails the run."""
    rows = [make_example(), make_example(split="test", where="films.csv line 9")]
    with pytest.raises(DataProblem, match=r"line 9: group g1 is in split 'test' but in 'train' at films\.csv line 2"):
        check_groups(rows)


def test_groups_that_stay_together_pass() -> None:
    """Several films of one group in one split are right."""
    check_groups([make_example(), make_example(), replace(make_example(group="g2", split="test"), path=Path("b.png"))])


def test_films_equal_byte_for_byte_agree_in_label_and_group(tmp_path: Path) -> None:
    """One of two labels is wrong, and two groups could be on both sides of the validation split."""
    for name, data in (("a.png", b"film"), ("b.png", b"film"), ("c.png", b"another")):
        (tmp_path / name).write_bytes(data)
    first = replace(make_example(), path=tmp_path / "a.png")
    twin = replace(make_example(where="films.csv line 9"), path=tmp_path / "b.png")
    same = "films.csv line 9: the film b.png is byte for byte a.png at films.csv line 2, but"
    assert not list(twin_problems([first, twin, replace(first, path=tmp_path / "c.png", label="covid19")]))
    assert list(twin_problems([first, replace(twin, label="covid19")])) == [f"{same} 'covid19' and not 'normal'."]
    assert list(twin_problems([first, replace(twin, group="g2")])) == [f"{same} in group g2 and not g1."]
    assert not list(twin_problems([replace(first, path=tmp_path / "gone.png"), twin]))


def test_empty_class_is_named() -> None:
    """A class without a film is refused by name."""
    with pytest.raises(DataProblem, match="split train: the class 'covid19' has no film"):
        check_labels([make_example()], LABELS, "split train")


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"no film", "This is neither a PNG"), (None, "there is no such file in ")],
    ids=["not a film", "absent"],
)
def test_unreadable_film_is_named_with_its_line(tmp_path: Path, data: bytes | None, reason: str) -> None:
    """A film that cannot be decoded, or is not there, is refused by its row, with the reason in words."""
    path = tmp_path / "a.png"
    if data is not None:
        path.write_bytes(data)
    row = Example(path, "normal", "g", "train", "", "films.csv line 7")
    with pytest.raises(DataProblem, match=rf"films\.csv line 7: the film a\.png cannot be read: {reason}"):
        check_films([row])
