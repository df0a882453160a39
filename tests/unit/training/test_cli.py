"""The commands: one JSON object on the output, the named model measured, refusals that name what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from shared.errors import DataProblem
from tests.models import write_model
from training import cli
from training.evaluate import ask, measure
from training.fit import ignore
from training.manifest_csv import read_manifest_csv
from training.synth import write_films
from worker.engine.keras_engine import load_engine


@pytest.mark.parametrize("name", ["train", "evaluate", "samples"])
def test_entry_points_are_commands(name: str) -> None:
    """What pyproject names can be made a command of `plainfilm`, with help."""
    result = CliRunner().invoke(getattr(cli, name), ["--help"])
    assert result.exit_code == 0
    assert typer.main.get_command(getattr(cli, name)).help


def test_evaluate_prints_one_json_object(tmp_path: Path) -> None:
    """The numbers of the named model on the named split, and nothing else."""
    manifest = write_films(tmp_path / "films", {"train": 2, "test": 3}, seed=1)
    (tmp_path / "model").mkdir()
    write_model(tmp_path / "model")
    arguments = ["--manifest", str(manifest), "--split", "test", "--model", str(tmp_path / "model"), "--json"]
    result = CliRunner().invoke(cli.evaluate, arguments)
    numbers = json.loads(result.stdout)
    engine = load_engine(tmp_path / "model")
    films = [film for film in read_manifest_csv(manifest) if film.split == "test"]
    expected = measure(ask(engine, films, ignore), engine.manifest.labels)
    assert numbers["n"] == 9
    assert numbers["accuracy"] == expected.accuracy.value
    assert np.array_equal(numbers["confusion"], expected.confusion)


def test_evaluate_names_an_empty_split(tmp_path: Path) -> None:
    """A split without rows is refused by name."""
    manifest = write_films(tmp_path, {"train": 1}, seed=1)
    result = CliRunner().invoke(cli.evaluate, ["--manifest", str(manifest), "--split", "tset"])
    assert isinstance(result.exception, DataProblem)
    assert "'tset'" in str(result.exception)
    manifest.write_text(manifest.read_text().splitlines()[0] + "\n")
    result = CliRunner().invoke(cli.evaluate, ["--manifest", str(manifest)])
    assert str(result.exception) == "manifest.csv has no row."


def test_evaluate_counts_no_film_twice(tmp_path: Path) -> None:
    """A film in two rows, under two labels here, is named before anything is measured."""
    manifest = write_films(tmp_path, {"test": 1}, seed=1)
    lines = manifest.read_text().splitlines()
    again = "./" + lines[1].replace("covid19", "normal", 1)
    manifest.write_text("\n".join([*lines, again]) + "\n")
    result = CliRunner().invoke(cli.evaluate, ["--manifest", str(manifest), "--split", "test"])
    assert isinstance(result.exception, DataProblem)
    assert "line 5: the film s0000.png has a row already" in str(result.exception)


def test_evaluate_counts_equal_films_once(tmp_path: Path) -> None:
    """Copies of the file, and the same pixels in another file, are told of by name; other rows keep their numbers."""
    manifest = write_films(tmp_path, {"test": 2}, seed=1)
    (tmp_path / "model").mkdir()
    write_model(tmp_path / "model")
    arguments = ["--manifest", str(manifest), "--model", str(tmp_path / "model"), "--json"]
    alone = CliRunner().invoke(cli.evaluate, arguments)
    film = tmp_path / "images" / "s0000.png"
    (tmp_path / "copy.png").write_bytes(film.read_bytes())
    with Image.open(film) as picture:
        picture.save(tmp_path / "again.png", compress_level=0)
    with manifest.open("a") as file:
        file.write("copy.png,covid19,c,test,\nagain.png,covid19,a,test,\n")
    table = tmp_path / "out.csv"
    result = CliRunner().invoke(cli.evaluate, [*arguments, "--films", str(table)])
    assert json.loads(result.stdout) == json.loads(alone.stdout)
    assert json.loads(result.stdout)["n"] == 6
    place = "s0000.png at manifest.csv line 2: it is counted once."
    assert f"manifest.csv line 8: the film copy.png is byte for byte {place}" in result.stderr
    assert f"manifest.csv line 9: the film again.png is pixel for pixel {place}" in result.stderr
    assert len(table.read_text().splitlines()) == 7


def test_evaluate_refuses_equal_films_with_two_labels(tmp_path: Path) -> None:
    """One of the labels is wrong: both rows are named, and nothing is measured."""
    manifest = write_films(tmp_path, {"test": 1}, seed=1)
    (tmp_path / "copy.png").write_bytes((tmp_path / "images" / "s0000.png").read_bytes())
    with manifest.open("a") as file:
        file.write("copy.png,normal,c,test,\n")
    (tmp_path / "model").mkdir()
    write_model(tmp_path / "model")
    result = CliRunner().invoke(cli.evaluate, ["--manifest", str(manifest), "--model", str(tmp_path / "model")])
    assert isinstance(result.exception, DataProblem)
    assert str(result.exception) == (
        "manifest.csv line 5: the film copy.png is byte for byte s0000.png at manifest.csv line 2, "
        "but 'normal' and not 'covid19'."
    )
    assert result.stdout == ""


def test_train_refuses_an_absent_data_folder(tmp_path: Path) -> None:
    """Nothing is written where there is nothing to learn from."""
    arguments = ["--recipe", "default", "--data", str(tmp_path / "gone"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli.train, arguments)
    assert isinstance(result.exception, DataProblem)
    assert not (tmp_path / "out").exists()
