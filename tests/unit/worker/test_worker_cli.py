"""`plainfilm worker run`: which queues, which model, and a refusal before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from shared.errors import InvalidRequest, ManifestMismatch, QueueDown
from shared.settings import Settings
from worker import boot
from worker.app import create_celery
from worker.cli import cli
from worker.serving import model_folder


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_model_folder_without_a_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: str) -> None:
    """Before Celery starts or the database is waited for, so that no child is forked to fail."""
    monkeypatch.setenv("PLAINFILM_HOME", str(tmp_path))
    monkeypatch.setenv("PLAINFILM_MODEL_DIR", str(tmp_path))
    monkeypatch.setenv("PLAINFILM_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setattr("signal.signal", lambda *_: None)  # it is this process's
    found = CliRunner().invoke(cli, ["run", "--pool", pool])
    assert isinstance(found.exception, ManifestMismatch)


def test_an_unknown_queue_is_refused_before_anything_starts() -> None:
    """What can be named is tested in `test_serving.py`."""
    found = CliRunner().invoke(cli, ["run", "--queues", "stat,urgent"])
    assert isinstance(found.exception, InvalidRequest)


def test_the_set_model_wins_over_the_shipped_one(tmp_path: Path) -> None:
    """The folder of PLAINFILM_MODEL_DIR, else the package's own."""
    assert model_folder(Settings(model_dir=tmp_path)) == tmp_path
    assert model_folder(Settings()).parts[-3:] == ("worker", "models", "default")


def test_a_worker_without_a_broker_is_told_how_to_get_one(tmp_path: Path) -> None:
    """Neither set nor running in this home."""
    with pytest.raises(QueueDown, match="PLAINFILM_REDIS_URL"):
        create_celery(Settings(home=tmp_path))


def test_workers_are_told_apart_by_host_and_process() -> None:
    """Short enough for its column."""
    host, _, pid = boot.worker_name().rpartition(":")
    assert host
    assert pid.isdigit()
    assert len(boot.worker_name()) <= 128
