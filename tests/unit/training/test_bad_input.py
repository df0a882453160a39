"""What cannot be trained on is named by file and line, all of it at once, by the command and before training starts."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shared.errors import DataProblem, InvalidRequest
from training.cli import train
from training.synth import write_films

Change = Callable[[list[dict[str, str]]], object]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of drawn films, a manifest.csv in it."""
    return write_films(tmp_path / "data", {"train": 6, "test": 2}, seed=1).parent


def rewrite(data: Path, change: Change) -> None:
    """Change the rows of the manifest."""
    path = data / "manifest.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def refused(data: Path, tmp_path: Path, *more: str) -> str:
    """What `plainfilm train` refuses with; nothing is written."""
    recipe = ("--recipe", "tiny", "--set", "drawn_films=0", "--data", str(data), "--out", str(tmp_path / "out"))
    result = CliRunner().invoke(train, [*recipe, *more])
    assert isinstance(result.exception, DataProblem), result.output
    assert result.exit_code == 1
    assert not (tmp_path / "out").exists()
    return result.exception.detail


def test_an_empty_class(data: Path, tmp_path: Path) -> None:
    """Its name, and the splits it was looked for in."""
    rewrite(data, lambda rows: [row.update(label="normal") for row in rows if row["label"] == "covid19"])
    assert refused(data, tmp_path) == "splits train: the class 'covid19' has no film."


def test_a_missing_column(data: Path, tmp_path: Path) -> None:
    """Both that are missing, at line 1."""
    rewrite(data, lambda rows: [(row.pop("group"), row.pop("split")) for row in rows])
    assert refused(data, tmp_path) == "manifest.csv line 1: column group, split is missing."


def test_unreadable_films(data: Path, tmp_path: Path) -> None:
    """Each by its row: one damaged, one absent."""
    (data / "images" / "s0001.png").write_bytes(b"damaged")
    (data / "images" / "s0004.png").unlink()
    detail = refused(data, tmp_path)
    assert "manifest.csv line 3: the film s0001.png cannot be read" in detail
    assert "manifest.csv line 6: the film s0004.png cannot be read" in detail


def test_splits_that_nothing_uses_are_told(data: Path, tmp_path: Path) -> None:
    """By name and number of films; not those that are learned from or measured."""
    (data / "images" / "s0000.png").unlink()  # so that it ends before it learns
    recipe = ("--recipe", "tiny", "--set", "drawn_films=0", "--data", str(data), "--out", str(tmp_path / "out"))
    assert "left alone" not in CliRunner().invoke(train, recipe).stderr
    told = CliRunner().invoke(train, [*recipe, "--set", "report_splits=[]"]).stderr
    assert told.strip() == "ignored, not a split of the recipe (learns from train; measures none): test (6 films)"


def test_one_group_in_two_splits_and_an_empty_class_are_told_together(data: Path, tmp_path: Path) -> None:
    """Both rows of the group, and the class."""

    def change(rows: list[dict[str, str]]) -> None:
        rows[-1]["group"] = rows[0]["group"]
        for row in rows:
            row["label"] = "covid19" if row["label"] == "normal" else row["label"]

    rewrite(data, change)
    detail = refused(data, tmp_path)
    assert "2 problems" in detail
    assert "manifest.csv line 25: group s0 is in split 'test' but in 'train' at manifest.csv line 2." in detail
    assert "the class 'normal' has no film" in detail


def test_unknown_labels_and_empty_cells(data: Path, tmp_path: Path) -> None:
    """Each by its line."""

    def change(rows: list[dict[str, str]]) -> None:
        rows[1]["label"] = "flu"
        rows[3]["group"] = ""

    rewrite(data, change)
    detail = refused(data, tmp_path)
    assert "manifest.csv line 3: the label 'flu' is not one of" in detail
    assert "manifest.csv line 5: group is empty." in detail


def test_a_recipe_file_that_is_wrong(data: Path, tmp_path: Path) -> None:
    """By file and line."""
    path = tmp_path / "mine.json"
    path.write_text('{\n  "name": "mine",\n  "epoch": 3\n}')
    assert refused(data, tmp_path, "--recipe", str(path)) == "mine.json line 3: there is no knob 'epoch'."
    assert refused(data, tmp_path, "--recipe", str(tmp_path / "no.json")) == "The recipe file no.json cannot be read."


def test_a_recipe_that_needs_other_findings_says_what_to_do(data: Path, tmp_path: Path) -> None:
    """The remedy is part of the message."""
    detail = refused(data, tmp_path, "--set", "other_label=other_finding")
    assert "other_pneumonia, tuberculosis" in detail
    assert "--set other_label=null" in detail


def test_absent_pretrained_weights_say_what_to_do(data: Path, tmp_path: Path) -> None:
    """Before any film is read."""
    detail = refused(data, tmp_path, "--set", "pretrained=weights/imagenet.npz")
    assert "imagenet.npz" in detail
    assert "--pretrained" in detail


def test_an_unreadable_film_that_would_only_be_measured(data: Path, tmp_path: Path) -> None:
    """Named before training starts, not after it."""
    with (data / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    line, row = next((number, row) for number, row in enumerate(rows, start=2) if row["split"] == "test")
    (data / row["file"]).write_bytes(b"no film")
    assert refused(data, tmp_path).startswith(f"manifest.csv line {line}: the film {Path(row['file']).name} cannot")


def test_a_film_in_two_splits_under_two_groups(data: Path, tmp_path: Path) -> None:
    """The same file is the same film, whatever its rows say."""

    def repeat(rows: list[dict[str, str]]) -> None:
        rows.append(rows[0] | {"group": "another", "split": "test"})

    rewrite(data, repeat)
    assert "line 26: the film" in (said := refused(data, tmp_path))
    assert "is in split 'test' but in 'train' at manifest.csv line 2" in said


@pytest.mark.parametrize("is_link", [True, False], ids=["a link", "another way to it"])
def test_a_film_in_two_splits_by_two_names(data: Path, tmp_path: Path, *, is_link: bool) -> None:
    """What counts is the file behind the name."""

    def repeat(rows: list[dict[str, str]]) -> None:
        film = data / rows[0]["file"]
        other = f"{film.parent.name}/../{rows[0]['file']}"
        if is_link:
            other = "link.png"
            (data / other).symlink_to(film)
        rows.append(rows[0] | {"file": other, "group": "another", "split": "test"})

    rewrite(data, repeat)
    assert "is in split 'test' but in 'train' at manifest.csv line 2" in refused(data, tmp_path)


def test_a_film_under_two_labels(data: Path, tmp_path: Path) -> None:
    """One of them is wrong."""
    rewrite(data, lambda rows: rows.append(rows[0] | {"label": rows[-1]["label"]}))
    assert "line 26: the film" in (said := refused(data, tmp_path))
    assert "but 'covid19' at manifest.csv line 2" in said


def test_a_film_in_two_groups(data: Path, tmp_path: Path) -> None:
    """It could be learned from and chosen by."""
    rewrite(data, lambda rows: rows.append(rows[0] | {"file": "./" + rows[0]["file"], "group": "another"}))
    assert "is in group another but in s0 at manifest.csv line 2." in refused(data, tmp_path)


def test_a_film_that_would_be_measured_twice(data: Path, tmp_path: Path) -> None:
    """The same row of a split that is reported."""
    rewrite(data, lambda rows: rows.append(rows[-1]))
    assert "has a row already at manifest.csv line 25." in refused(data, tmp_path)


def test_a_path_that_is_none(data: Path, tmp_path: Path) -> None:
    """Named by its line, like a film that is absent."""
    rewrite(data, lambda rows: rows[0].update(file="a\0b.png"))
    assert "manifest.csv line 2" in refused(data, tmp_path)


def test_a_folder_that_holds_something(data: Path, tmp_path: Path) -> None:
    """A run writes to a new one."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("{}")
    arguments = ["--recipe", "tiny", "--set", "drawn_films=0", "--data", str(data), "--out", str(tmp_path / "out")]
    found = CliRunner().invoke(train, arguments)
    assert isinstance(found.exception, InvalidRequest)
    assert "not an empty folder" in found.exception.detail


def test_a_folder_that_cannot_be_made(data: Path, tmp_path: Path) -> None:
    """Said before anything is learned."""
    (tmp_path / "file").write_text("")
    out = str(tmp_path / "file" / "out")
    found = CliRunner().invoke(train, ["--recipe", "tiny", "--set", "drawn_films=0", "--data", str(data), "--out", out])
    assert isinstance(found.exception, InvalidRequest)
    assert found.exception.detail == f"The folder '{out}' cannot be made: Not a directory."


def test_blanks_around_a_group_do_not_hide_it(data: Path, tmp_path: Path) -> None:
    """'p1' and 'p1 ' are one patient."""

    def share_group(rows: list[dict[str, str]]) -> None:
        other = next(row for row in rows if row["split"] == "test")
        other["group"] = rows[0]["group"] + " "

    rewrite(data, share_group)
    assert "is in split 'test' but in 'train'" in refused(data, tmp_path)


@pytest.mark.parametrize(
    ("knob", "said"),
    [
        ('report_splits=["test", "train"]', "learns from split 'train' and would be measured on it"),
        ('labels=["covid19", "normal", "lung_opacity"]', "'lung_opacity', which is no verdict of this service"),
        ('labels=["covid19", "uncertain"]', "'uncertain', which is no verdict of this service"),
        ('labels=["normal"]', "needs two or more, each once"),
        ('labels=["normal", "normal", "covid19"]', "needs two or more, each once"),
        ("train_splits=[]", "learns from no split"),
        ("epochs=0", "has epochs 0; it must be at least 1"),
        ("batch=0", "has batch 0"),
        ("copies=-1", "has copies -1; it must be at least 0"),
        ("seed=-1", "has seed -1"),
        ("learning_rate=NaN", "has learning_rate nan; it must be more than 0"),
        ("coverage=1.5", "has coverage 1.5; it must be more than 0 and at most 1"),
        ("set_coverage=1", "has set_coverage 1.0; it must be more than 0 and less than 1"),
        ("validation_share=-1", "has validation_share -1.0"),
        ("label_smoothing=2", "has label_smoothing 2.0"),
        ("augmentation.gamma=0", "has augmentation.gamma 0.0; it must be at least 1"),
        ("augmentation.crop=1", "has augmentation.crop 1.0; it must be at least 0 and at most 0.9"),
        ("augmentation.flip_share=2", "has augmentation.flip_share 2.0"),
        ('pool_shares={"covA": -1}', "has pool_shares -1.0 for covA; it must be at least 0"),
        ("augmentation.jpeg_quality=[90, 20]", "has augmentation.jpeg_quality from 90 to 20"),
    ],
)
def test_a_recipe_that_cannot_come_to_a_good_end(data: Path, tmp_path: Path, knob: str, said: str) -> None:
    """Refused before training starts."""
    rewrite(data, lambda rows: [row.update(label="normal") for row in rows if row["label"] == "viral_pneumonia"])
    assert said in refused(data, tmp_path, "--set", knob)
