"""A run that is cut off goes on: it ends with the weights of an unbroken one, and does nothing twice."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from shared.errors import Conflict, DataProblem, InvalidRequest
from shared.manifest import read_manifest
from shared.model_report import Epoch
from training import run as run_module
from training.checkpoint import Checkpoint
from training.cli import train
from training.fit import fit, ignore
from training.network import build_network
from training.recipes import find_recipe
from training.run import resume, run
from training.runs import alone, new_id, read_record
from training.splits import prepare
from training.state import TrainingState
from training.synth import write_films
from worker.engine.weights import load_weights

RECIPE = replace(find_recipe("tiny"), epochs=5, drawn_films=10, copies=1)


class Killed(Exception):
    """Stands for a kill between two epochs."""


def killer(stage: str, done: int, _total: int) -> None:
    """Ends the run when the second epoch is finished."""
    if stage == "epochs" and done == 2:
        raise Killed


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a break."""
    out = tmp_path_factory.mktemp("unbroken")
    run(RECIPE, Path(), out, "2026-01-01", ignore)
    return out


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """The same run, ended after its second epoch."""
    with pytest.raises(Killed):
        run(RECIPE, Path(), tmp_path / "run", "2026-01-01", killer)
    return tmp_path / "run"


def test_a_resumed_run_ends_with_the_same_weights(unbroken: Path, broken: Path) -> None:
    """Array for array within 1e-6, the same history but for its seconds, the same manifest, and no checkpoint left."""
    seen: list[tuple[str, int]] = []
    resume(broken, lambda stage, done, _total: seen.append((stage, done)))
    with np.load(unbroken / "weights.npz") as expected, np.load(broken / "weights.npz") as found:
        assert expected.files == found.files
        for name in expected.files:
            assert np.abs(expected[name] - found[name]).max() <= 1e-6, name
    assert [done for stage, done in seen if stage == "epochs"] == [3, 4, 5]
    assert not [stage for stage, _ in seen if stage == "films through the frozen layers"]
    losses = [
        [line.split(",")[:5] for line in (folder / "history.csv").read_text().splitlines()]
        for folder in (unbroken, broken)
    ]
    assert losses[0] == losses[1]
    assert not (broken / "checkpoint").exists()
    assert "resumed" in (broken / "run.log").read_text()


def test_a_run_writes_down_what_it_does(unbroken: Path) -> None:
    """The recipe and what was asked, a line an epoch, the golden set, how it rounds, and how long it learned."""
    log = (unbroken / "run.log").read_text()
    assert [f"epochs: {number} of 5" in log for number in range(1, 6)] == [True] * 5
    assert "done: epoch" in log
    assert json.loads((unbroken / "run.json").read_text())["trained_at"] == "2026-01-01"
    assert json.loads((unbroken / "learning.json").read_text())["seconds"] > 0
    assert (unbroken / "golden.json").exists()
    assert load_weights(unbroken, read_manifest(unbroken)).int8.keys() == {"conv1", "conv2"}


def test_a_finished_run_has_nothing_to_resume(unbroken: Path, tmp_path: Path) -> None:
    """Nor has a folder that is no run."""
    with pytest.raises(DataProblem, match="nothing to resume"):
        resume(unbroken, ignore)
    with pytest.raises(DataProblem, match="is no run"):
        resume(tmp_path, ignore)


def test_films_that_changed_since_are_not_resumed_on(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relabelled film makes it another run."""
    manifest = broken / "films" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",drawn", ",redrawn", 1))
    monkeypatch.setattr(run_module, "write_films", lambda *_: None)
    with pytest.raises(DataProblem, match="no longer those"):
        resume(broken, ignore)


def test_a_recipe_that_was_edited_since_is_not_resumed_by(broken: Path) -> None:
    """The model would carry a recipe that most of its training did not follow; undone, the run goes on."""
    path = broken / "recipe.json"
    text = path.read_text()
    path.write_text(text.replace('"epochs": 5', '"epochs": 3'))
    with pytest.raises(DataProblem, match="no longer the recipe that it began with"):
        resume(broken, ignore)
    path.write_text(text)
    assert len(resume(broken, ignore).manifest.metrics) > 0


def test_films_that_were_moved_are_named_with_the_resume(tmp_path: Path) -> None:
    """Without it, the message says how; a run whose films changed as well is refused as before."""
    write_films(tmp_path / "films", {"train": 10, "test": 5}, seed=7)
    recipe = replace(RECIPE, drawn_films=0)
    with pytest.raises(Killed):
        run(recipe, tmp_path / "films", tmp_path / "run", "2026-01-01", killer)
    (tmp_path / "films").rename(tmp_path / "moved")
    arguments = ["--resume", str(tmp_path / "run"), "--no-report"]
    told = CliRunner().invoke(train, arguments)
    assert "name it with --data" in str(told.exception)
    done = CliRunner().invoke(train, [*arguments, "--data", str(tmp_path / "moved")])
    assert done.exit_code == 0, done.exception
    assert read_record(tmp_path / "run").data == tmp_path / "moved"


def test_a_resumed_run_takes_no_recipe(broken: Path) -> None:
    """A changed knob would be passed over in silence."""
    told = CliRunner().invoke(train, ["--resume", str(broken), "--set", "epochs=3", "--no-report"])
    assert told.exit_code == 2
    assert "--set: not together with --resume" in told.stderr
    assert (broken / "checkpoint").is_dir()


def test_ctrl_c_tells_how_to_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's name was never shown before; a run that has not begun to learn has nothing to resume."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "run", interrupted)
    arguments = ["--recipe", "tiny", "--out", str(tmp_path / "a run"), "--no-report"]
    assert "resume" not in CliRunner().invoke(train, arguments).stderr
    (tmp_path / "a run" / "checkpoint").mkdir(parents=True)
    assert f"plainfilm train --resume '{tmp_path / 'a run'}'" in CliRunner().invoke(train, arguments).stderr


def test_two_processes_do_not_work_on_one_run(broken: Path) -> None:
    """The second is refused, and the checkpoint stays as it is."""
    with alone(broken), pytest.raises(Conflict, match="Another process is at work on the run 'run'"):
        resume(broken, ignore)
    assert Checkpoint(broken / "checkpoint").last() is not None


def test_a_new_run_takes_no_folder_of_another(broken: Path) -> None:
    """What that one left there, a model or its card say, would pass for the new one's."""
    before = {path: path.stat().st_mtime_ns for path in broken.rglob("*")}
    with pytest.raises(InvalidRequest, match="not an empty folder"):
        run(replace(RECIPE, epochs=1), Path(), broken, "2026-01-02", ignore)
    assert {path: path.stat().st_mtime_ns for path in broken.rglob("*")} == before


def test_another_film_of_the_same_name_and_size_is_not_resumed_on(
    broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stored features are of the film that was there."""
    film = next((broken / "films").rglob("*.png"))
    data = film.read_bytes()
    film.write_bytes(data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])
    monkeypatch.setattr(run_module, "write_films", lambda *_: None)
    blank = np.zeros((8, 8), np.uint8)
    monkeypatch.setattr(run_module, "prepare", lambda recipe, data: prepare(recipe, data, lambda _: blank))
    with pytest.raises(DataProblem, match="no longer those"):
        resume(broken, ignore)


def test_it_holds_for_the_other_optimiser_and_choice_too(tmp_path: Path) -> None:
    """RMSprop, each film in one form, and the last epoch kept."""
    write_films(tmp_path, {"train": 8}, seed=2)
    recipe = replace(RECIPE, epochs=2, batch=6, copies=0, optimizer="rmsprop", choose="last", balance="none")
    films = prepare(recipe, tmp_path)

    def stop(stage: str, done: int, _total: int) -> None:
        if stage == "epochs" and done == 1:
            raise Killed

    whole = fit(recipe, films)
    with pytest.raises(Killed):
        fit(recipe, films, checkpoints=Checkpoint(tmp_path / "kept"), progress=stop)
    parts = fit(recipe, films, checkpoints=Checkpoint(tmp_path / "kept"))
    for name, array in whole.arrays.items():
        assert np.abs(array - parts.arrays[name]).max() <= 1e-6, name
    assert parts.kept_epoch == 2


def test_a_networks_state_holds_dropout_and_optimiser() -> None:
    """Steps from a state give the same losses again; without the seeds of dropout they would not."""
    recipe = find_recipe("seed2020")
    rng = np.random.default_rng(1)
    x, labels = rng.random((4, 200, 200, 1), np.float32), np.array([0, 1, 2, 0])
    network = build_network(recipe, {}, 10)
    network.step(x, labels)
    state = network.state()
    losses = [network.step(x, labels)[0] for _ in range(2)]
    network.set_state(state)
    assert [network.step(x, labels)[0] for _ in range(2)] == pytest.approx(losses, abs=1e-6)


def test_a_course_comes_back_as_it_was(tmp_path: Path) -> None:
    """Arrays of any type, the draws' state, and infinity."""
    rng = np.random.default_rng(5)
    rng.random(3)
    course = TrainingState(
        history=(Epoch(1, 0.5, 0.25, 0.1, 1.0, 2.0),),
        kept_epoch=1,
        best_loss=np.inf,
        best_arrays=[np.ones((2, 3), np.float32)],
        state=[np.array(7, np.int64), np.zeros((0,), np.float32)],
        rng=rng.bit_generator.state,
    )
    kept = Checkpoint(tmp_path / "kept")
    assert kept.last() is None
    kept.save(course)
    found = kept.last()
    assert found
    assert (found.history, found.kept_epoch, found.best_loss) == (course.history, 1, np.inf)
    assert [(a.dtype, a.tolist()) for a in found.state] == [(a.dtype, a.tolist()) for a in course.state]
    assert np.array_equal(found.best_arrays[0], course.best_arrays[0])
    other = np.random.default_rng(0)
    other.bit_generator.state = found.rng
    assert other.random() == rng.random()
    kept.forget()
    assert kept.last() is None


def test_features_are_made_once_and_never_half_kept(tmp_path: Path) -> None:
    """A second call reads them; one that was cut off while they were made leaves nothing that looks whole."""
    kept = Checkpoint(tmp_path / "kept")

    def cut_off() -> np.ndarray:
        raise Killed

    with pytest.raises(Killed):
        kept.features("train", cut_off)
    made = np.arange(6, dtype=np.float16).reshape(2, 1, 3)
    assert kept.features("train", lambda: made) is made
    assert np.array_equal(kept.features("train", cut_off), made)
    (tmp_path / "kept" / "part-validation.npy").write_bytes(b"half")
    assert np.array_equal(kept.features("validation", lambda: made), made)


def test_a_runs_id_is_its_time_and_recipe() -> None:
    """In UTC, so that ids sort by time."""
    east = timezone(timedelta(hours=5))
    assert new_id(RECIPE, datetime(2026, 11, 23, 3, 0, tzinfo=east)) == "20261122T220000Z-tiny"
    assert new_id(RECIPE, datetime(2026, 11, 23, 3, 0, tzinfo=UTC)) == "20261123T030000Z-tiny"


def test_what_earlier_attempts_finished_counts_as_learning_time(broken: Path) -> None:
    """Stored features and finished epochs are in the seconds of the whole, though they are not done again."""
    kept = Checkpoint(broken / "checkpoint").seconds()
    course = Checkpoint(broken / "checkpoint").last()
    assert course is not None
    assert kept > sum(epoch.seconds for epoch in course.history) > 0
    done = resume(broken, ignore)
    assert done.seconds > kept
