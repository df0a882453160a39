"""Stored films without a row: which are removed, and which are spared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import event, update

from shared.db import deletions, jobs, migrate
from shared.db.engine import Database, make_engine
from shared.db.film_folder import FilmFolder
from shared.db.tables import Job
from shared.errors import StorageDown
from shared.storage.local import LocalBlobs
from shared.wiring import Resources, new_job_id
from tests.fakes import MemoryBlobs
from tests.jobs import claim, make_job
from worker import sweep as sweeper
from worker.sweep import purge_orphans


@pytest.fixture
def shelf(resources: Resources) -> tuple[Resources, MemoryBlobs]:
    """Resources by the real clock, and their blobs."""
    assert isinstance(resources.blobs, MemoryBlobs)
    return resources, resources.blobs


def put(blobs: MemoryBlobs, job_id: str, age: timedelta) -> str:
    """A blob of that age."""
    ref = blobs.put("default", job_id, b"film")
    blobs.written_at[ref] = datetime.now(UTC) - age
    return ref


def test_an_old_film_without_a_row_is_removed(shelf: tuple[Resources, MemoryBlobs]) -> None:
    """Its web process died between the two steps."""
    resources, blobs = shelf
    put(blobs, new_job_id(), timedelta(hours=2))
    assert purge_orphans(resources, "w") == 1
    assert blobs.data == {}


def test_a_young_film_without_a_row_is_spared(shelf: tuple[Resources, MemoryBlobs]) -> None:
    """Its row may be about to be committed."""
    resources, blobs = shelf
    ref = put(blobs, new_job_id(), timedelta(minutes=30))
    assert purge_orphans(resources, "w") == 0
    assert set(blobs.data) == {ref}


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "failed", "cancelled", "expired"])
def test_the_film_of_a_known_job_is_spared(shelf: tuple[Resources, MemoryBlobs], state: str) -> None:
    """Whatever its state and however old."""
    resources, blobs = shelf
    job_id = make_job(resources.database)
    lease = {"lease_until": datetime.now(UTC)} if state == "running" else {}
    with resources.database.begin() as session:
        session.execute(update(Job).values(state=state, **lease))
    ref = put(blobs, job_id, timedelta(days=400))
    assert purge_orphans(resources, "w") == 0
    assert set(blobs.data) == {ref}


def test_orphans_among_many_films_are_found(
    shelf: tuple[Resources, MemoryBlobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked about in portions, since a statement takes only so many parameters."""
    monkeypatch.setattr(sweeper, "PURGE_BATCH", 4)
    resources, blobs = shelf
    known = {put(blobs, make_job(resources.database), timedelta(hours=2)) for _ in range(6)}
    for _ in range(5):
        put(blobs, new_job_id(), timedelta(hours=2))
    assert purge_orphans(resources, "w") == 5
    assert set(blobs.data) == known


def test_films_beside_another_database_are_spared(shelf: tuple[Resources, MemoryBlobs]) -> None:
    """Somebody tries another one, or starts a new one over the old home: its rows are missing, not the films."""
    resources, blobs = shelf
    ref = put(blobs, str(UUID(int=(1_700_000_000_000 << 80) | (7 << 76) | (2 << 62))), timedelta(hours=2))
    assert purge_orphans(resources, "w") == 0
    assert set(blobs.data) == {ref}


def test_more_orphans_than_there_can_be_are_spared(
    shelf: tuple[Resources, MemoryBlobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup was restored that does not know the newest films: not one is removed, and the log asks."""
    monkeypatch.setattr(sweeper, "MOST_ORPHANS", 4)
    monkeypatch.setattr(sweeper, "PURGE_BATCH", 2)
    resources, blobs = shelf
    refs = {put(blobs, new_job_id(), timedelta(hours=2)) for _ in range(5)}
    assert purge_orphans(resources, "w") == 0
    assert set(blobs.data) == refs
    blobs.delete(refs.pop())
    assert purge_orphans(resources, "w") == 4


def test_films_of_deleted_jobs_go_however_many_others_there_are(
    shelf: tuple[Resources, MemoryBlobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention deleted their rows and could not remove them: that they go was promised."""
    monkeypatch.setattr(sweeper, "MOST_ORPHANS", 4)
    monkeypatch.setattr(sweeper, "PURGE_BATCH", 2)
    resources, blobs = shelf
    others = {put(blobs, new_job_id(), timedelta(hours=2)) for _ in range(5)}
    deleted = [make_job(resources.database) for _ in range(6)]
    for job_id in deleted:
        put(blobs, job_id, timedelta(hours=2))
        claim(resources.database)
    with jobs.changing(resources.database) as changes:
        changes.sql.execute(update(Job).values(state="failed", lease_until=None, finished_at=changes.now))
        deletions.delete_ended_before(changes, changes.now + timedelta(seconds=1), 100)
    assert purge_orphans(resources, "w") == 6
    assert set(blobs.data) == others


def test_nothing_is_removed_where_the_films_are_another_databases(resources: Resources, tmp_path: Path) -> None:
    """Even where they are young and few: with their own database there are none."""
    theirs = FilmFolder(tmp_path / "films", resources.database)
    theirs.open(may_mark=True)
    ref = LocalBlobs(theirs.root, theirs.check).put("default", new_job_id(), b"film")
    later = resources.settings.model_copy(update={"orphan_after_s": -3600.0})
    ours = FilmFolder(theirs.root, _another_database(tmp_path))
    beside = replace(
        resources, settings=later, database=ours.database, films=ours, blobs=LocalBlobs(ours.root, ours.check)
    )
    with pytest.raises(StorageDown):
        ours.open(may_mark=True)
    with pytest.raises(StorageDown):
        purge_orphans(beside, "w")
    assert (theirs.root / ref).exists()
    ours.database.close()


def _another_database(folder: Path) -> Database:
    """Migrated by itself, so not a copy of the template."""
    made = Database(make_engine(f"sqlite:///{folder / 'another.db'}"))
    migrate.upgrade(made)
    return made


def test_one_worker_purges_at_a_time(shelf: tuple[Resources, MemoryBlobs]) -> None:
    """Each would go through all films."""
    resources, blobs = shelf
    assert purge_orphans(resources, "first") == 0
    put(blobs, new_job_id(), timedelta(hours=2))
    assert purge_orphans(resources, "second") == 0
    assert purge_orphans(resources, "first") == 1


def test_no_statement_grows_with_the_films(
    shelf: tuple[Resources, MemoryBlobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite refuses 32,767 parameters, PostgreSQL 65,536: a year of films is more."""
    monkeypatch.setattr(sweeper, "MOST_ORPHANS", 1200)
    resources, blobs = shelf
    for _ in range(1200):
        put(blobs, new_job_id(), timedelta(hours=2))
    counts: list[int] = []
    event.listen(
        resources.database.engine, "before_cursor_execute", lambda *arguments: counts.append(len(arguments[3]))
    )
    assert purge_orphans(resources, "w") == 1200
    assert max(counts) <= 1000


def test_no_transaction_is_open_while_the_disk_is_read(resources: Resources, tmp_path: Path) -> None:
    """A walk through many files must not pin a snapshot."""
    open_now: list[int] = []
    engine = resources.database.engine
    event.listen(engine, "begin", lambda _connection: open_now.append(1))
    for name in ("commit", "rollback"):
        event.listen(engine, name, lambda _connection: open_now.pop())

    class Watched(LocalBlobs):
        def older_than(self, moment: datetime) -> Iterator[str]:
            assert open_now == []
            return LocalBlobs.older_than(self, moment)

    LocalBlobs(tmp_path / "films").put("default", new_job_id(), b"x")
    later = resources.settings.model_copy(update={"orphan_after_s": -3600.0})
    assert purge_orphans(replace(resources, settings=later, blobs=Watched(tmp_path / "films")), "w") == 1
