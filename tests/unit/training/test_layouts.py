"""The databases that the 2020 study names train as they are downloaded; drawn films in folders of the same shape."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from shared.errors import DataProblem
from shared.manifest import read_manifest
from tests.models import write_model
from training.cli import evaluate, train
from training.recipes import find_recipe
from training.splits import find_examples, prepare
from training.synth import draw_film, write_films

RECIPE = replace(find_recipe("tiny"), drawn_films=0)
KINDS = {"covid19": "COVID", "normal": "NORMAL", "viral_pneumonia": "Viral Pneumonia"}


def draw(folder: Path, label: str, names: list[str]) -> None:
    """Films of one kind under these names."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(names))
    for name in names:
        Image.fromarray(draw_film(label, rng)).save(folder / name)


def first_release(root: Path) -> Path:
    """`COVID-19 (1).png`, ... in a folder a class."""
    for label, name in (KINDS | {"covid19": "COVID-19"}).items():
        draw(root / name, label, [f"{name} ({number}).png" for number in range(1, 9)])
    (root / "README.md.txt").write_text("about")
    (root / "COVID-19.metadata.xlsx").write_bytes(b"table")
    return root


def later_release(root: Path) -> Path:
    """`COVID/images/COVID-1.png`, masks beside, a fourth folder, all in the folder of the archive."""
    inner = root / "COVID-19_Radiography_Dataset"
    for label, name in (KINDS | {"normal": "Normal", "": "Lung_Opacity"}).items():
        names = [f"{name}-{number}.png" for number in range(1, 9)]
        draw(inner / name / "images", label, names)
        draw(inner / name / "masks", label, names)
    return root


def ten_thousand(root: Path) -> Path:
    """covid-19-x-ray-10000-images: two classes of mixed formats in `dataset/`."""
    draw(root / "dataset" / "covid", "covid19", ["1.jpg", "2.jpeg", "3.png", "4.JPG", "5.jpg", "6.jpg"])
    draw(root / "dataset" / "normal", "normal", [f"{number}.jpeg" for number in range(1, 9)])
    return root


def test_both_releases_of_the_radiography_database_are_read(tmp_path: Path) -> None:
    """Eight films of each class; masks and the fourth folder take no part."""
    for root in (first_release(tmp_path / "first"), later_release(tmp_path / "later")):
        examples = find_examples(RECIPE, root)
        assert Counter(e.label for e in examples) == dict.fromkeys(KINDS, 8)
        assert not [e for e in examples if "masks" in e.path.parts]
        assert len({e.group for e in examples}) == 24


def test_the_other_database_is_read_and_its_equal_names_stay_apart(tmp_path: Path) -> None:
    """`covid/1.jpg` and `normal/1.jpeg` are two persons."""
    recipe = replace(RECIPE, labels=("covid19", "normal"))
    examples = find_examples(recipe, ten_thousand(tmp_path))
    assert Counter(e.label for e in examples) == {"covid19": 6, "normal": 8}
    assert len({e.group for e in examples}) == 14
    data = prepare(recipe, tmp_path)
    assert {e.label for e in data.validation} == {"covid19", "normal"}


@pytest.mark.slow
def test_the_later_release_trains_and_is_measured_without_a_manifest(tmp_path: Path) -> None:
    """By the commands: what was left alone is told, a model comes of it, and the folders measure it."""
    root, out = later_release(tmp_path / "data"), tmp_path / "out"
    few = ("--set", "drawn_films=0", "--set", "epochs=1", "--set", "copies=0")
    result = CliRunner().invoke(train, ["--recipe", "tiny", *few, "--data", str(root), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "ignored, not a class of the recipe: Lung_Opacity" in result.stderr
    assert read_manifest(out).trained_on == dict.fromkeys(KINDS, 6) | {"validation": 6}
    result = CliRunner().invoke(evaluate, ["--folders", str(root), "--model", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert '"n": 24' in result.stdout
    assert "Lung_Opacity" in result.stderr


def test_what_an_archive_of_macos_adds_is_no_film(tmp_path: Path) -> None:
    """Its hidden twins of each file."""
    root = first_release(tmp_path / "first")
    (root / "NORMAL" / "._NORMAL (1).png").write_bytes(b"resource fork")
    (root / "NORMAL" / ".hidden.png").write_bytes(b"")
    assert len(find_examples(RECIPE, root)) == 24


def test_films_in_a_class_folder_and_in_its_images_are_told(tmp_path: Path) -> None:
    """Those beside would take no part, without a word."""
    root = later_release(tmp_path / "later")
    draw(root / "COVID-19_Radiography_Dataset" / "Normal" / "more", "normal", ["1.png"])
    film = root / "COVID-19_Radiography_Dataset" / "Normal" / "more" / "1.png"
    film.rename(film.parents[1] / "1.png")
    with pytest.raises(DataProblem, match="Normal/: films lie in it and in its images/"):
        find_examples(RECIPE, root)


def test_a_csv_of_file_and_label_is_measured_and_its_labels_are_checked(tmp_path: Path) -> None:
    """All rows where no split is named; an unknown label is named by its line instead of counting as a finding."""
    films = write_films(tmp_path / "films", {"test": 4}, seed=1)
    model = tmp_path / "model"
    model.mkdir()
    write_model(model)
    lines = films.read_text().splitlines()
    columns = lines[0].split(",")
    places = [columns.index(name) for name in ("file", "label")]
    short = [",".join(line.split(",")[place] for place in places) for line in lines]
    (films.parent / "short.csv").write_text("\n".join(short))
    arguments = ["--manifest", str(films.parent / "short.csv"), "--model", str(model), "--json"]
    result = CliRunner().invoke(evaluate, arguments)
    assert result.exit_code == 0, result.output
    assert '"n": 12' in result.stdout
    (films.parent / "short.csv").write_text("\n".join([*short, short[1].rpartition(",")[0] + ",Normal"]))
    result = CliRunner().invoke(evaluate, arguments)
    assert isinstance(result.exception, DataProblem)
    assert "short.csv line 14: the label 'Normal' is not one of" in result.exception.detail


def test_evaluate_takes_a_manifest_or_folders(tmp_path: Path) -> None:
    """Neither or both is refused with what to name."""
    both = ("--folders", str(tmp_path), "--manifest", "m.csv", "--split", "test")
    for arguments in ((), both):
        result = CliRunner().invoke(evaluate, arguments)
        assert result.exit_code == 2
        assert "--folders" in result.stderr
