"""A manifest CSV is read whole or refused, each problem by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import DataProblem
from training.dataset import Example
from training.manifest_csv import read_manifest_csv
from training.recipe import LABELS

HEADER = "file,label,group,split,pool"


def write_csv(folder: Path, *rows: str, header: str = HEADER) -> Path:
    """A manifest with these lines."""
    path = folder / "films.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_rows_become_examples_with_paths_beside_the_manifest(tmp_path: Path) -> None:
    """Film paths are relative to the manifest; each row knows its line."""
    path = write_csv(tmp_path, "images/a.png,normal,g1,train,p", "images/b.png,covid19,g2,test,")
    first, second = read_manifest_csv(path, labels=LABELS)
    assert first == Example(tmp_path / "images/a.png", "normal", "g1", "train", "p", "films.csv line 2")
    assert (second.where, second.pool) == ("films.csv line 3", "")


def test_group_may_be_absent_when_only_measuring(tmp_path: Path) -> None:
    """For measuring, file, label and split are enough; then each film is its own group."""
    path = write_csv(tmp_path, "a.png,odd_label,test", header="file,label,split")
    (example,) = read_manifest_csv(path, ("file", "label", "split"))
    assert (example.group, example.label) == ("a.png", "odd_label")


def test_missing_column_is_named(tmp_path: Path) -> None:
    """A manifest without `group` is refused at line 1."""
    path = write_csv(tmp_path, "a.png,normal,train", header="file,label,split")
    with pytest.raises(DataProblem, match=r"films\.csv line 1: column group is missing"):
        read_manifest_csv(path)


def test_unknown_label_is_named_with_its_line(tmp_path: Path) -> None:
    """A label that nobody announced is refused where it stands."""
    path = write_csv(tmp_path, "a.png,normal,g1,train,", "b.png,flu,g2,train,")
    with pytest.raises(DataProblem, match=r"films\.csv line 3: the label 'flu'"):
        read_manifest_csv(path, labels=LABELS)


@pytest.mark.parametrize("split", ["../../pwn", "site A/2024", "<b>", r"\d", 65 * "x"])
def test_a_split_that_is_no_name_is_named_with_its_line(tmp_path: Path, split: str) -> None:
    """It becomes part of file names; so it is where the column is not needed."""
    path = write_csv(tmp_path, "a.png,normal,g1,test_adult-2,", f"b.png,normal,g2,{split},")
    for columns in (("file", "label", "group", "split"), ("file", "label")):
        with pytest.raises(DataProblem, match=r"films\.csv line 3: the split name '.*' may only have letters"):
            read_manifest_csv(path, columns)


@pytest.mark.parametrize("row", ["a.png,,g1,train,", "a.png,normal", ",normal,g1,train,"])
def test_empty_cell_is_named_with_its_line(tmp_path: Path, row: str) -> None:
    """An empty or absent cell is refused where it stands."""
    with pytest.raises(DataProblem, match=r"films\.csv line 2: \w+ is empty"):
        read_manifest_csv(write_csv(tmp_path, row), labels=LABELS)


def test_manifest_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Bytes that are no text, or no file at all, are refused by name."""
    path = tmp_path / "films.csv"
    with pytest.raises(DataProblem, match=r"^The CSV file films\.csv is not there\.$"):
        read_manifest_csv(path)
    for data in (b"\xff\xfe\x00", "file,label\nMüller.png,normal\n".encode("cp1252")):
        path.write_bytes(data)
        with pytest.raises(DataProblem, match=r"films\.csv cannot be read as a CSV file: it is not in UTF-8"):
            read_manifest_csv(path)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ('a.png,normal,"x\nb.png,normal,y\nc.png,normal,z\n', "line 2: the row cannot be read as CSV: unexpected end"),
        (
            'a.png,normal,"x\nb.png,normal,y"\nc.png,normal,z\n',
            "line 2: the row cannot be read as CSV: a quotation mark opens a cell that goes on to line 3",
        ),
        ('a.png,normal,x"y\nb.png,normal,"y"z\nc.png,normal,z\n', "line 3: the row cannot be read as CSV"),
    ],
)
def test_a_stray_quotation_mark_swallows_no_row(tmp_path: Path, rows: str, told: str) -> None:
    """What is between two of them would be one cell, and the rows in it would not count."""
    path = tmp_path / "films.csv"
    path.write_text(f"file,label,notes\n{rows}")
    with pytest.raises(DataProblem, match=rf"films\.csv {told}"):
        read_manifest_csv(path, ("file", "label"))


def test_a_quoted_cell_is_read(tmp_path: Path) -> None:
    """With commas and marks in it, in one line."""
    path = tmp_path / "films.csv"
    path.write_text('file,label,notes\n"a, b.png",normal,"he said ""no"""\n\nc.png,covid19,\n')
    assert [(e.path.name, e.where) for e in read_manifest_csv(path, ("file", "label"))] == [
        ("a, b.png", "films.csv line 2"),
        ("c.png", "films.csv line 4"),
    ]


@pytest.mark.parametrize(("sign", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_other_separators_are_recognised(tmp_path: Path, sign: str, name: str) -> None:
    """As spreadsheets of some countries write them; a column that is simply not there is no matter of separators."""
    path = write_csv(tmp_path, sign.join(("a.png", "normal")), header=sign.join(("file", "label")))
    with pytest.raises(DataProblem, match=rf"column file, label is missing\. It seems to be separated by {name};"):
        read_manifest_csv(path, ("file", "label"))
    with pytest.raises(DataProblem, match=r"missing\.$"):
        read_manifest_csv(write_csv(tmp_path, "a.png", header="file"), ("file", "label"))


def test_all_problems_are_told_at_once_but_twenty_at_most(tmp_path: Path) -> None:
    """Every wrong row, one a line; beyond twenty only their number."""
    rows = [f"f{number}.png,flu,g{number},train," for number in range(25)]
    with pytest.raises(DataProblem) as caught:
        read_manifest_csv(write_csv(tmp_path, *rows), labels=LABELS)
    lines = caught.value.detail.splitlines()
    assert lines[0] == "25 problems:"
    assert [line.split(":")[0].strip() for line in lines[1:21]] == [f"films.csv line {n}" for n in range(2, 22)]
    assert lines[21:] == ["  ... and 5 more"]


def test_a_manifest_saved_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    """A byte order mark is no part of the first column's name, and rows of nothing but commas are none."""
    path = tmp_path / "films.csv"
    path.write_bytes(b"\xef\xbb\xbffile,label,group,split\r\na.png,normal,g1,train\r\n,,,\r\n, ,,,,\r\n")
    (example,) = read_manifest_csv(path, labels=LABELS)
    assert (example.label, example.where) == ("normal", "films.csv line 2")
