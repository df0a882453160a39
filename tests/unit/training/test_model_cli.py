"""`plainfilm model`: what holds is printed, what does not ends with its reason; copies and new versions load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from shared.errors import BadChecksum, DataProblem, GoldenMismatch, InvalidRequest, ManifestMismatch
from shared.manifest import read_manifest
from tests.models import write_model
from training.dataset import film_sha256
from training.learned import LearnedFilms, read_recalibrated, write_learned
from training.model_cli import model
from training.synth import write_films
from worker.engine import SHIPPED_MODEL
from worker.engine.golden import read_golden
from worker.engine.keras_engine import load_engine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small model without a golden set."""
    folder = tmp_path / "model"
    folder.mkdir()
    write_model(folder)
    return folder


def ask(*arguments: object) -> list[str]:
    """A command's lines; its error is raised."""
    result = CliRunner().invoke(model, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_the_group_names_its_commands() -> None:
    """Each with a line of help."""
    commands = typer.main.get_command(model).commands  # type: ignore[attr-defined]
    assert set(commands) == {"verify", "export", "golden", "quantize", "compare", "recalibrate"}
    assert all(command.help for command in commands.values())


def test_compare_says_how_far_apart_the_engines_are(folder: Path) -> None:
    """A line an answer, then the verdicts; films are named in one way only."""
    *answers, last = ask("compare", "--model", folder, "--films", 3)
    assert len(answers) == 5
    assert last == "0 of 3 verdicts differ"
    with pytest.raises(InvalidRequest):
        ask("compare", "--model", folder, "--manifest", "films.csv", "--folders", "films")


def test_verify_says_what_holds(folder: Path) -> None:
    """Manifest, weights with their digest, and golden films: absent until they are recorded, then passed."""
    sha256 = read_manifest(folder).weights_sha256
    lines = ask("verify", "--model", folder)
    assert [line.partition(":")[0] for line in lines] == ["manifest", "weights", "golden films"]
    assert sha256 in lines[1]
    assert "absent" in lines[2]
    ask("golden", "--model", folder)
    assert "golden films: passed, 12 answered" in ask("verify", "--model", folder)[2]


def test_quantize_rounds_by_films_it_learned_from(folder: Path, tmp_path: Path) -> None:
    """Of those named; the file's digest is told and then verified."""
    write_films(tmp_path / "films", {"train": 12}, 1)
    with pytest.raises(DataProblem, match="learned from none"):
        ask("quantize", "--model", folder, "--manifest", tmp_path / "films/manifest.csv")
    learned = sorted(film_sha256(path) for path in (tmp_path / "films").rglob("*.png"))[:5]
    write_learned(folder, LearnedFilms(learned_from=tuple(learned), chosen_by=()))
    (line,) = ask("quantize", "--model", folder, "--manifest", tmp_path / "films/manifest.csv")
    sha256 = read_manifest(folder).int8_sha256
    assert sha256 is not None
    assert line.endswith(sha256)
    assert f"int8: SHA-256 {sha256}, 2 rows" in ask("verify", "--model", folder)
    with pytest.raises(InvalidRequest):
        ask("quantize", "--model", folder)


def test_verify_ends_with_the_first_that_does_not_hold(folder: Path) -> None:
    """Exit 1 with the reason; what was checked before is still told."""
    ask("golden", "--model", folder)
    golden = folder / "golden.json"
    golden.write_text(golden.read_text().replace('"is_steady": true', '"is_steady": 3', 1))
    result = CliRunner().invoke(model, ["verify", "--model", str(folder)])
    assert (result.exit_code, type(result.exception)) == (1, ManifestMismatch)
    assert len(result.stdout.splitlines()) == 2
    record = json.loads(golden.read_text().replace('"is_steady": 3', '"is_steady": true'))
    record["films"][4]["other"] = 0.5
    golden.write_text(json.dumps(record))
    result = CliRunner().invoke(model, ["verify", "--model", str(folder)])
    assert (result.exit_code, type(result.exception)) == (1, GoldenMismatch)
    assert "normal_1.png is off by 0.5" in str(result.exception)
    data = bytearray((folder / "weights.npz").read_bytes())
    data[100] ^= 1
    (folder / "weights.npz").write_bytes(data)
    result = CliRunner().invoke(model, ["verify", "--model", str(folder)])
    assert (result.exit_code, type(result.exception)) == (1, BadChecksum)
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.slow
def test_the_shipped_model_holds() -> None:
    """With its golden set: all twelve samples of this build, by their digests."""
    assert "golden films: passed, 12 answered" in ask("verify")[3]
    golden = read_golden(SHIPPED_MODEL)
    assert golden
    assert all(film.is_steady for film in golden.films)


def test_export_copies_what_holds(folder: Path, tmp_path: Path) -> None:
    """All of a model's files but those of its run; the copy loads, the folder must be new."""
    for name in ("run.json", "run.log", "history.csv"):
        (folder / name).write_text("x")
    out = tmp_path / "out"
    ask("export", "--model", folder, "--out", out)
    assert {path.name for path in out.iterdir()} == {"weights.npz", "manifest.json", "history.csv"}
    assert load_engine(out).manifest == read_manifest(folder)
    with pytest.raises(InvalidRequest, match="not an empty folder"):
        ask("export", "--model", folder, "--out", out)


def test_export_copies_nothing_that_does_not_hold(folder: Path, tmp_path: Path) -> None:
    """A broken model makes no folder."""
    (folder / "weights.npz").write_bytes(b"broken")
    with pytest.raises(BadChecksum):
        ask("export", "--model", folder, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_recalibrate_prints_before_and_after(folder: Path, tmp_path: Path) -> None:
    """From a CSV: the held-out half measured with the old and with the new thresholds, and what was kept."""
    manifest = write_films(tmp_path / "films", {"test": 40}, seed=1)
    lines = ask("recalibrate", "--manifest", manifest, "--model", folder, "--out", tmp_path / "new")
    assert lines[0] == "thresholds set on 60 films, measured on 60 others:"
    assert [line.split(":")[0].strip() for line in lines[1:6]] == [
        "accuracy", "balanced_accuracy", "ece15", "coverage", "selective_accuracy",
    ]  # fmt: skip
    assert all(" before, " in line and line.endswith(" after") for line in lines[1:6])
    assert lines[-1].startswith("version 1+new in ")
    record = json.loads((tmp_path / "new" / "recalibration.json").read_text())
    assert record["films"] == {"covid19": 20, "normal": 20, "viral_pneumonia": 20}


def test_recalibrate_needs_films_named_once_and_enough_of_them(folder: Path, tmp_path: Path) -> None:
    """Neither, both, or too few: nothing is written."""
    manifest = write_films(tmp_path / "films", {"test": 3}, seed=1)
    with pytest.raises(InvalidRequest, match="--manifest or with --folders"):
        ask("recalibrate", "--out", tmp_path / "new")
    with pytest.raises(InvalidRequest, match="not both"):
        ask("recalibrate", "--manifest", manifest, "--folders", tmp_path, "--out", tmp_path / "new")
    with pytest.raises(DataProblem, match="'covid19' has 3 films; at least 40 are needed"):
        ask("recalibrate", "--manifest", manifest, "--model", folder, "--out", tmp_path / "new")
    with pytest.raises(DataProblem, match=r"'covid19' has 3 films; at least 20 are needed\."):
        ask("recalibrate", "--few", "--manifest", manifest, "--model", folder, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_few_films_recalibrate_only_where_that_is_asked_for(folder: Path, tmp_path: Path) -> None:
    """39 of a class are refused, before anything is written; done all the same, version and record tell of it."""
    few = write_films(tmp_path / "films", {"test": 39}, seed=1)
    with pytest.raises(DataProblem, match=r"'normal' has 39 films; at least 40 are needed \(--few takes 20 films of"):
        ask("recalibrate", "--manifest", few, "--model", folder, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    lines = ask("recalibrate", "--few", "--manifest", few, "--model", folder, "--out", tmp_path / "new")
    assert lines[-2].startswith("fewer than 40 films of a class: ")
    assert read_manifest(tmp_path / "new").version == "1+new.few"
    assert read_recalibrated(tmp_path / "new").is_few
    enough = write_films(tmp_path / "more", {"test": 40}, seed=1)
    lines = ask("recalibrate", "--few", "--manifest", enough, "--model", folder, "--out", tmp_path / ("n" * 70))
    assert not any(line.startswith("fewer than") for line in lines)
    assert not read_recalibrated(tmp_path / ("n" * 70)).is_few
    assert read_manifest(tmp_path / ("n" * 70)).version == "1+" + "n" * 31
