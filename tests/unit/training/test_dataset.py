"""What would spoil a run is refused before it starts, each by file and line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import DataProblem
from training.dataset import (
    Example,
    check_films,
    check_groups,
    check_labels,
    left_alone,
    passed_over,
    read_class_folders,
    read_film,
    read_manifest_csv,
)
from training.recipe import LABELS

HEADER = "file,label,group,split,pool"
FOLDERS = {"COVID": "covid19", "Normal": "normal", "Viral Pneumonia": "viral_pneumonia"}


def write_csv(folder: Path, *rows: str, header: str = HEADER) -> Path:
    """A manifest with these lines."""
    path = folder / "films.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def write_film(path: Path) -> Path:
    """A readable grey film."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(64 * 64, dtype=np.uint32).reshape(64, 64).astype(np.uint8)).save(path)
    return path


def make_example(**changes: str) -> Example:
    """A row; any field can be changed."""
    fields = {"label": "normal", "group": "g1", "split": "train", "pool": "", "where": "films.csv line 2"} | changes
    return Example(path=Path("a.png"), **fields)


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
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataProblem, match=r"films\.csv cannot be read"):
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


def test_group_in_two_splits_is_named_with_both_rows() -> None:
    """One patient on both sides of a split fails the run."""
    rows = [make_example(), make_example(split="test", where="films.csv line 9")]
    with pytest.raises(DataProblem, match=r"line 9: group g1 is in split 'test' but in 'train' at films\.csv line 2"):
        check_groups(rows)


def test_groups_that_stay_together_pass() -> None:
    """Several films of one group in one split are right."""
    check_groups([make_example(), make_example(), replace(make_example(group="g2", split="test"), path=Path("b.png"))])


def test_empty_class_is_named() -> None:
    """A class without a film is refused by name."""
    with pytest.raises(DataProblem, match="split train: the class 'covid19' has no film"):
        check_labels([make_example()], LABELS, "split train")


@pytest.mark.parametrize("data", [b"no film", None], ids=["not a film", "absent"])
def test_unreadable_film_is_named_with_its_line(tmp_path: Path, data: bytes | None) -> None:
    """A film that cannot be decoded, or is not there, is refused by its row."""
    path = tmp_path / "a.png"
    if data is not None:
        path.write_bytes(data)
    row = Example(path, "normal", "g", "train", "", "films.csv line 7")
    with pytest.raises(DataProblem, match=r"films\.csv line 7: the film a\.png cannot be read"):
        check_films([row])


def test_film_is_read_by_the_decoder_that_serves(tmp_path: Path) -> None:
    """Canonical grey pixels, as the service would see them."""
    pixels = read_film(write_film(tmp_path / "a.png"))
    assert pixels.shape == (64, 64)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("inside", ["", "images"])
def test_class_folders_are_read_with_and_without_images_inside(tmp_path: Path, inside: str) -> None:
    """Both layouts of the Radiography Database; masks and unknown folders are left alone."""
    for folder in ("COVID", "NORMAL", "Viral Pneumonia", "Lung_Opacity"):
        write_film(tmp_path / folder / inside / f"{folder}-1.png")
    write_film(tmp_path / "COVID" / "masks" / "COVID-1.png")
    (tmp_path / "COVID" / inside / "notes.txt").write_text("no film")
    examples = read_class_folders(tmp_path, FOLDERS)
    assert [(e.path.name, e.label) for e in examples] == [
        ("COVID-1.png", "covid19"),
        ("NORMAL-1.png", "normal"),
        ("Viral Pneumonia-1.png", "viral_pneumonia"),
    ]
    check_films(examples)


def test_dicoms_are_films_and_what_is_none_is_told(tmp_path: Path) -> None:
    """Of another hospital most films are DICOMs; nobody should think that a folder within was measured."""
    for name in ("normal/a.png", "covid/b.png"):
        write_film(tmp_path / name)
    for name in ("normal/c.dcm", "normal/0001", "normal/._c.dcm", "normal/DICOMDIR"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    for name in ("e.tif", "f.txt", "g.txt"):
        (tmp_path / "normal" / name).write_text("no film")
    write_film(tmp_path / "normal" / "patient-1" / "h.png")
    examples = read_class_folders(tmp_path, FOLDERS)
    assert [e.path.name for e in examples if e.label == "normal"] == ["0001", "a.png", "c.dcm"]
    assert list(passed_over(tmp_path, FOLDERS)) == ["no films in normal/: DICOMDIR, e.tif, f.txt and 2 more"]


def test_names_of_class_folders_are_read_in_any_spelling(tmp_path: Path) -> None:
    """Case, blanks, '-' and '_' do not matter; a film's class folder is part of its group, and its pool."""
    for folder in ("viral-pneumonia", "covid", "NORMAL"):
        write_film(tmp_path / folder / "1.PNG")
    examples = read_class_folders(tmp_path, FOLDERS)
    assert {(e.label, e.pool) for e in examples} == {(label, label) for label in LABELS}
    assert len({e.group for e in examples}) == 3


def test_class_folders_may_lie_in_one_folder_below(tmp_path: Path) -> None:
    """As an unpacked download has them; where several folders have some, one must be named."""
    write_film(tmp_path / "dataset" / "covid" / "a.png")
    write_film(tmp_path / "dataset" / "other" / "a.png")
    (tmp_path / "papers").mkdir()
    (example,) = read_class_folders(tmp_path, FOLDERS)
    assert example.label == "covid19"
    assert left_alone(tmp_path, FOLDERS) == ("other",)
    write_film(tmp_path / "test" / "covid" / "b.png")
    with pytest.raises(DataProblem, match="in each of dataset, test: name one"):
        read_class_folders(tmp_path, FOLDERS)


def test_empty_class_folders_are_named(tmp_path: Path) -> None:
    """A folder without a film is not a class without a folder; all of them at once."""
    write_film(tmp_path / "Normal" / "1.png")
    for name in ("COVID/images", "Viral Pneumonia"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "COVID" / "images" / "notes.txt").write_text("no film")
    with pytest.raises(DataProblem) as caught:
        read_class_folders(tmp_path, FOLDERS)
    assert "2 problems" in caught.value.detail
    assert "COVID/: the folder of the class 'covid19' has no film." in caught.value.detail
    assert "Viral Pneumonia/: " in caught.value.detail


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
    """A byte order mark is no part of the first column's name."""
    path = tmp_path / "films.csv"
    path.write_bytes(b"\xef\xbb\xbffile,label,group,split\r\na.png,normal,g1,train\r\n")
    (example,) = read_manifest_csv(path, labels=LABELS)
    assert (example.label, example.where) == ("normal", "films.csv line 2")


def test_folder_without_classes_is_refused(tmp_path: Path) -> None:
    """A folder that holds no class folder is refused, saying which were looked for."""
    with pytest.raises(DataProblem, match="COVID, Normal, Viral Pneumonia"):
        read_class_folders(tmp_path, FOLDERS)
