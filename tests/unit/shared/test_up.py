"""What `plainfilm up` does before its parts run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared import private_files, up
from shared.broker import free_port
from shared.db import migrate
from shared.db.engine import build_database
from shared.errors import Conflict, InvalidRequest
from shared.settings import Settings
from tests.models import write_model

pytestmark = pytest.mark.enable_socket  # it looks whether a port of this machine is free


@pytest.fixture
def said() -> list[str]:
    """What the person at the terminal reads."""
    return []


def settings_of(home: Path, database: str) -> Settings:
    """A home with an SQLite file of that name."""
    return Settings(home=home, database_url=f"sqlite:///{home.parent / database}")


def prepare(settings: Settings, said: list[str]) -> str:
    """The key of a home whose films are not looked at."""
    settings.home.mkdir(exist_ok=True)
    database = build_database(settings)
    migrate.upgrade(database)
    try:
        return up._admin_key(settings, database, said.append)
    finally:
        database.close()


def test_a_key_of_another_database_is_put_aside(tmp_path: Path, said: list[str]) -> None:
    """Nothing is lost by a changed address: the old key is kept, privately, each of them, and one line says so."""
    home = tmp_path / "home"
    first = prepare(settings_of(home, "one.db"), said)
    assert said == []
    second = prepare(settings_of(home, "two.db"), said)
    third = prepare(settings_of(home, "three.db"), said)
    kept = {path.name: path.read_text().strip() for path in home.glob("api-key*")}
    assert kept == {"api-key": third, "api-key.old": first, "api-key.old2": second}
    assert {path.stat().st_mode & 0o777 for path in home.glob("api-key*")} == {0o600}
    assert [line.count(".old") for line in said] == [1, 1]


def test_the_key_of_this_database_stays(tmp_path: Path, said: list[str]) -> None:
    """Start after start."""
    settings = settings_of(tmp_path / "home", "one.db")
    assert prepare(settings, said) == prepare(settings, said)
    assert said == []


def test_a_folder_without_a_model_stops_the_start(tmp_path: Path, said: list[str]) -> None:
    """Before a part is started that would end again and again; the line names the setting."""
    settings = Settings(home=tmp_path / "home", model_dir=tmp_path, port=free_port())
    with pytest.raises(InvalidRequest, match=f"PLAINFILM_MODEL_DIR {tmp_path} cannot be used: "):
        up.up(settings, said.append)
    assert said == ["stopping", "stopped"]
    assert not (tmp_path / "home" / "logs").exists()


def test_damaged_weights_stop_the_start(tmp_path: Path, said: list[str]) -> None:
    """A worker would refuse them at each of its starts, and the service would be ready without one."""
    write_model(tmp_path)
    with (tmp_path / "weights.npz").open("r+b") as file:
        file.write(b"other")
    settings = Settings(home=tmp_path / "home", model_dir=tmp_path, port=free_port())
    with pytest.raises(InvalidRequest, match=r"cannot be used: weights\.npz is not the file"):
        up.up(settings, said.append)
    assert said == ["stopping", "stopped"]


def test_the_link_that_is_printed_can_be_opened(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By PLAINFILM_URL where it is set, else by an address of this machine."""
    monkeypatch.setattr(up, "_start_broker", lambda *_: "redis://127.0.0.1:1/0")
    monkeypatch.setattr(up, "_prepare", lambda *_: "t0ken")

    class Quiet:
        def add(self, _part: object) -> None:
            """Start nothing."""

    settings = Settings(home=tmp_path, host="0.0.0.0", port=free_port())  # noqa: S104  nobody listens
    private_files.make_folder(settings.run)
    for url, expected in (
        (None, f"http://127.0.0.1:{settings.port}"),
        ("https://films.example", "https://films.example"),
    ):
        said.clear()
        up._start(settings.model_copy(update={"url": url}), Quiet(), 3, said.append)
        assert f"  open once in your browser: {expected}/enter/t0ken" in said
    assert settings.running_url == f"http://127.0.0.1:{settings.port}"


@pytest.mark.parametrize(
    ("workers", "cores", "threads", "names", "each"),
    [
        (1, 6, None, ["worker"], None),
        (2, 6, None, ["worker", "worker-2"], "3"),
        (3, 8, None, ["worker", "worker-2", "worker-3"], "3"),
        (4, 2, None, ["worker", "worker-2", "worker-3", "worker-4"], "1"),
        (2, 6, 5, ["worker", "worker-2"], None),
    ],
)
def test_workers_share_the_cores_of_this_machine(  # noqa: PLR0913, PLR0917  one row of a table
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, cores: int, threads: int | None,
    names: list[str], each: str | None,
) -> None:  # fmt: skip
    """One takes all of them; several a share each, rounded up, unless it is set on how many each computes."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    settings = Settings(home=tmp_path, workers=workers, engine_threads=threads)
    parts = up._workers(settings, {"PLAINFILM_HOME": "here"})
    assert [part.name for part in parts] == names
    assert {part.environment.get("PLAINFILM_ENGINE_THREADS") for part in parts} == {each}
    assert {part.environment["PLAINFILM_HOME"] for part in parts} == {"here"}


def test_a_second_service_of_a_home_is_refused(tmp_path: Path) -> None:
    """The lock's file keeps saying whose it is, and another may have it once that one has ended."""
    lock = tmp_path / "lock"
    with up._alone(lock):
        with pytest.raises(Conflict, match="already runs in this home"), up._alone(lock):
            pytest.fail("two services in one home")
        assert lock.read_text() == str(os.getpid())
    with up._alone(lock):
        assert lock.read_text() == str(os.getpid())
