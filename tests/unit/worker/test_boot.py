"""A worker's start with a real model: golden films asked, told by the sign of life; a wrong model never serves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from shared import samples
from shared.db.film_folder import UNMARKED, FilmFolder
from shared.db.tables import WorkerHeartbeat
from shared.errors import BadChecksum, GoldenMismatch, StorageDown
from shared.settings import Settings
from shared.wiring import Resources
from tests.models import write_model
from training.golden import write_golden
from worker import awaiting, boot
from worker.engine.golden import GOLDEN_FILE, GoldenState
from worker.serving import Serving


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small model with its golden set."""
    folder = tmp_path / "model"
    folder.mkdir()
    write_model(folder)
    write_golden(folder, samples.paths()[:2])
    return folder


@pytest.fixture
def settings(resources: Resources, model: Path) -> Settings:
    """Settings of the test's database, whose films' folder is there, that name the model."""
    resources.films.open(may_mark=True)
    return resources.settings.model_copy(update={"model_dir": model, "batch_limit": 2})


def beats(resources: Resources) -> list[str]:
    """What the signs of life say of the golden films."""
    with resources.database.read() as session:
        return list(session.scalars(select(WorkerHeartbeat.golden)))


def test_a_worker_asks_its_golden_films(settings: Settings, resources: Resources) -> None:
    """They answer as recorded, and the sign of life says so."""
    runtime = boot.build(settings, Serving())
    runtime.beat()
    assert runtime.golden is GoldenState.PASSED
    assert beats(resources) == ["passed"]


def test_a_model_without_golden_films_serves_and_says_so(settings: Settings, resources: Resources, model: Path) -> None:
    """A user's own model."""
    (model / GOLDEN_FILE).unlink()
    boot.build(settings, Serving()).beat()
    assert beats(resources) == ["absent"]


def test_a_model_that_answers_otherwise_never_serves(settings: Settings, resources: Resources, model: Path) -> None:
    """One recorded score off by 0.01: no runtime, no model registered, no heartbeat."""
    path = model / GOLDEN_FILE
    text = path.read_text()
    score = text.partition('"normal": ')[2].partition(",")[0]
    path.write_text(text.replace(score, str(float(score) + 0.01), 1))
    with pytest.raises(GoldenMismatch, match=r"is off by 0\.01"):
        boot.build(settings, Serving())
    assert beats(resources) == []


def test_a_changed_byte_stops_the_start_before_the_weights_are_read(
    settings: Settings, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of weights.npz is deserialised where its digest is wrong."""
    weights = model / "weights.npz"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("the file was read"))
    with pytest.raises(BadChecksum):
        boot.build(settings, Serving())


def test_a_worker_waits_for_the_films_of_its_database(resources: Resources, tmp_path: Path) -> None:
    """Beside another home, or a volume that is not mounted, it never starts; it says which setting to look at."""
    resources.films.open(may_mark=True)
    with pytest.raises(StorageDown, match="PLAINFILM_HOME"):
        awaiting.wait_for_films(FilmFolder(tmp_path / "other" / "films", resources.database), patience_s=0)
    awaiting.wait_for_films(FilmFolder(tmp_path / "films", resources.database), patience_s=0)


def test_a_worker_waits_for_the_first_mark(resources: Resources, tmp_path: Path) -> None:
    """The web process that stores films makes it: a worker might take an empty folder for that of the films."""
    films = FilmFolder(tmp_path / "films", resources.database)
    with pytest.raises(StorageDown) as refused:
        awaiting.wait_for_films(films, patience_s=0)
    assert refused.value.detail == UNMARKED
    assert not films.root.exists()
