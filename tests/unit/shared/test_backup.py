"""A backup is whole, or says what it lacks, and what it is written over stays as it was."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from shared.backup import back_up
from shared.cli import cli
from shared.db import audit, migrate
from shared.db.engine import Database, make_engine
from shared.db.tables import Job
from shared.errors import InvalidRequest, NotFound
from shared.settings import Settings
from shared.storage.local import LocalBlobs
from tests.jobs import make_job


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with three jobs and their films."""
    folder = tmp_path / "home"
    folder.mkdir()
    database = Database(make_engine(f"sqlite:///{folder / 'plainfilm.db'}"))
    migrate.upgrade(database)
    blobs = LocalBlobs(folder / "films")
    for n in range(3):
        ref = blobs.put("default", f"01997000-0000-7000-8000-00000000000{n}", b"film %d" % n)
        make_job(database, blob_ref=ref)
    database.close()
    (folder / "api-key").write_text("pf_secret")
    (folder / "films" / ".database").write_text("mark")
    return folder


def read(folder: Path) -> tuple[dict[str, bytes], int]:
    """The films that the jobs of a home name, and how many events its chain holds."""
    database = Database(make_engine(f"sqlite:///{folder / 'plainfilm.db'}"))
    with database.read() as session:
        refs = session.scalars(select(Job.blob_ref)).all()
        events, broken = audit.verify(session)
    database.close()
    assert broken is None
    return {ref: LocalBlobs(folder / "films").get(ref) for ref in refs}, events


def test_a_backup_is_a_home_of_its_own(home: Path, tmp_path: Path) -> None:
    """The same jobs, films, events and key, for its owner alone."""
    said: list[str] = []
    found = back_up(Settings(home=home), tmp_path / "backup", said.append)
    assert (found.films, found.missing_jobs) == (3, [])
    assert read(tmp_path / "backup") == read(home)
    assert (tmp_path / "backup" / "films" / ".database").read_text() == "mark"
    for name in ("api-key", "plainfilm.db"):
        assert stat.S_IMODE((tmp_path / "backup" / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700
    assert said == [f"database: {tmp_path / 'backup' / 'plainfilm.db'}"]


def damage(film: Path) -> None:
    """Another byte."""
    film.write_bytes(b"other")


@pytest.mark.parametrize("spoil", [damage, Path.unlink])
def test_a_film_that_cannot_be_copied_is_named(
    home: Path, tmp_path: Path, spoil: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are there, and the command's status says that one is not."""
    spoiled = next((home / "films" / "default").glob("*0001/*"))
    spoil(spoiled)
    monkeypatch.setenv("PLAINFILM_HOME", str(home))
    found = CliRunner().invoke(cli, ["backup", str(tmp_path / "backup")])
    assert found.exit_code == 1
    assert f"job {spoiled.parent.name}: its film is missing or damaged" in found.output
    assert "films: 2" in found.output


def test_nothing_is_written_over(home: Path, tmp_path: Path) -> None:
    """Whatever is there stays."""
    folder = tmp_path / "backup"
    folder.mkdir()
    (folder / "mine").write_text("mine")
    with pytest.raises(InvalidRequest, match="is not empty"):
        back_up(Settings(home=home), folder, print)
    assert [path.name for path in folder.iterdir()] == ["mine"]
    with pytest.raises(InvalidRequest, match="cannot be made or written to"):
        back_up(Settings(home=home), folder / "mine" / "below", print)


def test_a_backup_lies_elsewhere_and_takes_every_name_of_sqlite(home: Path, tmp_path: Path) -> None:
    """Not among the films it copies; `sqlite+pysqlite:///` is the same database."""
    with pytest.raises(InvalidRequest, match="among the films"):
        back_up(Settings(home=home), home / "films" / "copy", print)
    settings = Settings(home=home, database_url=f"sqlite+pysqlite:///{home / 'plainfilm.db'}")
    assert back_up(settings, tmp_path / "backup", print).films == 3


def test_what_it_cannot_copy_it_says(tmp_path: Path) -> None:
    """PostgreSQL has tools of its own, and the order matters; an absent database is no empty backup."""
    postgres = Settings(home=tmp_path, database_url="postgresql://x@127.0.0.1/x")
    with pytest.raises(InvalidRequest, match="pg_dump"):
        back_up(postgres, tmp_path / "backup", print)
    with pytest.raises(NotFound):
        back_up(Settings(home=tmp_path), tmp_path / "backup", print)
    assert not (tmp_path / "backup").exists()
