"""Class folders are read as they are downloaded; what is no film or no class is named."""

from __future__ import annotations

import shutil
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from shared.errors import DataProblem
from training.class_layout import ignored_files, ignored_folders, read_class_folders
from training.film_checks import check_films
from training.recipe import LABELS

FOLDERS = {"COVID": "covid19", "Normal": "normal", "Viral Pneumonia": "viral_pneumonia"}


def write_film(path: Path) -> Path:
    """A readable grey film, another one at each path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.arange(64 * 64, dtype=np.uint32).reshape(64, 64) + crc32(str(path).encode()) % 251
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


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
    assert not [line for line in ignored_files(tmp_path, FOLDERS) if "masks" in line]


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
    assert list(ignored_files(tmp_path, FOLDERS)) == [
        "no films in normal/: DICOMDIR, e.tif, f.txt and 1 more",
        "folders in normal/, whose films are not taken: patient-1; put the films into normal/ itself",
    ]


def test_names_of_class_folders_are_read_in_any_spelling(tmp_path: Path) -> None:
    """Case, blanks, '-' and '_' do not matter; a film's class folder is part of its group, and its pool."""
    for folder in ("viral-pneumonia", "covid", "NORMAL"):
        write_film(tmp_path / folder / "1.PNG")
    examples = read_class_folders(tmp_path, FOLDERS)
    assert {(e.label, e.pool) for e in examples} == {(label, label) for label in LABELS}
    assert len({e.group for e in examples}) == 3


def test_films_with_equal_bytes_are_one_group(tmp_path: Path) -> None:
    """Downloads hold some films twice: one copy must not be learned from while the other chooses the epoch."""
    first = write_film(tmp_path / "Normal" / "1.png")
    shutil.copy(first, tmp_path / "Normal" / "2.png")
    write_film(tmp_path / "Normal" / "3.png")
    assert [e.group for e in read_class_folders(tmp_path, FOLDERS)] == ["Normal/1", "Normal/1", "Normal/3"]


def test_class_folders_may_lie_in_one_folder_below(tmp_path: Path) -> None:
    """As an unpacked download has them; where several folders have some, one must be named."""
    write_film(tmp_path / "dataset" / "covid" / "a.png")
    write_film(tmp_path / "dataset" / "other" / "a.png")
    (tmp_path / "papers").mkdir()
    (example,) = read_class_folders(tmp_path, FOLDERS)
    assert example.label == "covid19"
    assert ignored_folders(tmp_path, FOLDERS) == ("other",)
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


def test_folder_without_classes_is_refused(tmp_path: Path) -> None:
    """A folder that holds no class folder is refused, saying which were looked for."""
    with pytest.raises(DataProblem, match="COVID, Normal, Viral Pneumonia"):
        read_class_folders(tmp_path, FOLDERS)
