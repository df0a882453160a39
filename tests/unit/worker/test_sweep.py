"""The sweeper gives back, ends, rings and purges; one at a time, and idle passes only read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import event, select, update

from shared.db import deletions, jobs, locks, migrate, queries
from shared.db.engine import Database, make_engine
from shared.db.film_folder import FilmFolder
from shared.db.tables import Explanation, Job
from shared.domain import Priority
from shared.errors import StorageDown
from shared.storage.local import LocalBlobs
from shared.wiring import Resources, new_job_id
from tests.explanations import add_explainer, make_explanation, make_result, take
from tests.fakes import FixedClock, LocalNotifier, MemoryBlobs, RecordingQueue
from tests.jobs import claim, make_job
from worker import sweep as sweeper
from worker.sweep import purge_orphans, sweep


@dataclass(slots=True)
class WatchedQueue(RecordingQueue):
    """Remembers what another connection saw of the rung job."""

    database: Database | None = None
    seen: list[datetime] = field(default_factory=list)

    def classify(self, job_id: str, priority: Priority) -> bool:
        """Look at the row, which another transaction must be able to write."""
        assert self.database is not None
        with self.database.begin() as session:
            self.seen.append(session.get_one(Job, job_id).last_rung_at)
        return RecordingQueue.classify(self, job_id, priority)


@pytest.fixture
def kitchen(resources: Resources, sqlite_url: str, clock: FixedClock) -> Iterator[Resources]:
    """Resources at a time that the test sets."""
    database = Database(make_engine(sqlite_url), clock)
    yield replace(resources, database=database, queue=WatchedQueue(database=Database(make_engine(sqlite_url))))
    database.close()


def rings(resources: Resources) -> list[tuple[str, Priority]]:
    """What was rung."""
    assert isinstance(resources.queue, RecordingQueue)
    return resources.queue.rings


def state(resources: Resources, job_id: str) -> tuple[str, int]:
    """(state, attempt)."""
    with resources.database.read() as session:
        job = session.get_one(Job, job_id)
        return job.state, job.attempt


def statements(resources: Resources) -> list[str]:
    """Every statement from here on."""
    seen: list[str] = []
    event.listen(resources.database.engine, "before_cursor_execute", lambda *arguments: seen.append(arguments[2]))
    return seen


def test_maps_that_nobody_makes_are_not_rung_for(kitchen: Resources, clock: FixedClock) -> None:
    """Rings would pile up in the broker; the lease of a dead worker is ended all the same, and then only reads are."""
    job_id = make_result(kitchen.database)
    make_explanation(kitchen.database, job_id)
    assert take(kitchen.database) is not None
    clock.advance(21)
    assert sweep(kitchen, "w1")
    assert isinstance(kitchen.queue, RecordingQueue)
    assert kitchen.queue.explained == []
    assert not sweep(kitchen, "w1")
    add_explainer(kitchen.database)
    assert sweep(kitchen, "w1")
    assert len(kitchen.queue.explained) == 1


def test_a_dead_workers_map_comes_back_and_an_unrung_one_is_rung(kitchen: Resources, clock: FixedClock) -> None:
    """Both in one pass, the ring after the commit; a second pass finds nothing to do."""
    job_id = make_result(kitchen.database)
    held = make_explanation(kitchen.database, job_id)
    assert take(kitchen.database) is not None
    waiting = make_explanation(kitchen.database, job_id, method="smooth_grad")
    clock.advance(21)
    add_explainer(kitchen.database)
    assert sweep(kitchen, "w1")
    assert isinstance(kitchen.queue, RecordingQueue)
    assert sorted(kitchen.queue.explained) == sorted([held, waiting])
    assert rings(kitchen) == []
    with kitchen.database.read() as session:
        found = session.scalars(select(Explanation.state).order_by(Explanation.id)).all()
    assert found == ["queued", "queued"]
    assert not sweep(kitchen, "w1")


def test_what_a_pass_changes_is_hinted_at(kitchen: Resources, clock: FixedClock) -> None:
    """One hint for the films given back and those past their time; none for those that are only rung."""
    held = make_job(kitchen.database)
    claim(kitchen.database)
    late, unrung = make_job(kitchen.database, expires_in_s=5), make_job(kitchen.database)
    clock.advance(21)
    assert sweep(kitchen, "w1")
    assert isinstance(kitchen.notifier, LocalNotifier)
    assert kitchen.notifier.published == [(held, late)]
    assert unrung in {job_id for job_id, _ in rings(kitchen)}


def test_an_idle_pass_only_reads(kitchen: Resources) -> None:
    """Films that wait, run and were rung lately: no write lock is taken."""
    make_job(kitchen.database)
    claim(kitchen.database)
    make_job(kitchen.database)
    seen = statements(kitchen)
    assert not sweep(kitchen, "w1")
    assert seen
    assert {statement.split()[0] for statement in seen} <= {"BEGIN", "SELECT"}
    assert not [statement for statement in seen if "IMMEDIATE" in statement]


def test_a_pass_with_work_is_seen_by_the_same_watch(kitchen: Resources, clock: FixedClock) -> None:
    """The check above can fail: a pass that writes begins at once with the lock."""
    make_job(kitchen.database)
    clock.advance(11)
    seen = statements(kitchen)
    assert sweep(kitchen, "w1")
    assert "BEGIN IMMEDIATE" in seen


def test_the_films_of_a_dead_worker_come_back(kitchen: Resources, clock: FixedClock) -> None:
    """Lease over: queued again and rung at once, so that the wait ends here."""
    job_id = make_job(kitchen.database, priority=Priority.STAT)
    claim(kitchen.database)
    clock.advance(21)
    assert sweep(kitchen, "w1")
    assert state(kitchen, job_id) == ("queued", 1)
    assert rings(kitchen) == [(job_id, Priority.STAT)]


def test_a_film_under_a_living_lease_is_left_alone(kitchen: Resources, clock: FixedClock) -> None:
    """To the very second."""
    job_id = make_job(kitchen.database)
    claim(kitchen.database)
    clock.advance(20)
    assert not sweep(kitchen, "w1")
    assert state(kitchen, job_id) == ("running", 1)


def test_a_film_that_ended_all_its_workers_is_given_up(kitchen: Resources, clock: FixedClock) -> None:
    """Failed as poisoned, with no ring."""
    job_id = make_job(kitchen.database, max_attempts=1)
    claim(kitchen.database)
    clock.advance(21)
    sweep(kitchen, "w1")
    with kitchen.database.read() as session:
        error = queries.get_job(session, "default", job_id).error
    assert error is not None
    assert error.code == "poisoned"
    assert rings(kitchen) == []


def test_a_job_past_its_time_is_ended(kitchen: Resources, clock: FixedClock) -> None:
    """Expired, not rung."""
    job_id = make_job(kitchen.database, expires_in_s=30)
    clock.advance(30)
    assert sweep(kitchen, "w1")
    assert state(kitchen, job_id) == ("expired", 0)
    assert rings(kitchen) == []


def test_a_film_whose_ring_was_lost_is_rung_again(kitchen: Resources, clock: FixedClock) -> None:
    """After ten silent seconds, once in ten seconds, in its class."""
    job_id = make_job(kitchen.database, priority=Priority.BULK)
    clock.advance(10)
    assert not sweep(kitchen, "w1")
    clock.advance(1)
    assert [sweep(kitchen, "w1"), sweep(kitchen, "w1")] == [True, False]
    clock.advance(11)
    assert sweep(kitchen, "w1")
    assert rings(kitchen) == [(job_id, Priority.BULK)] * 2


def test_the_bell_rings_after_the_commit(kitchen: Resources, clock: FixedClock) -> None:
    """Another connection sees the mark, and can write: no transaction is open while the broker is asked."""
    make_job(kitchen.database)
    clock.advance(11)
    sweep(kitchen, "w1")
    assert isinstance(kitchen.queue, WatchedQueue)
    assert kitchen.queue.seen == [clock.now]


def test_a_dead_broker_does_not_stop_the_sweep(kitchen: Resources, clock: FixedClock) -> None:
    """The films are given back all the same."""
    job_id = make_job(kitchen.database)
    claim(kitchen.database)
    clock.advance(21)
    assert isinstance(kitchen.queue, RecordingQueue)
    kitchen.queue.down = True
    assert sweep(kitchen, "w1")
    assert state(kitchen, job_id) == ("queued", 1)


def test_one_sweeps_at_a_time(kitchen: Resources, clock: FixedClock) -> None:
    """Who has the turn keeps it for a while; the others do nothing, not even a write, until it is over."""
    with kitchen.database.begin() as session:
        assert locks.take(session, sweeper.TURN, "w1", timedelta(seconds=60), clock.now)
    job_id = make_job(kitchen.database)
    clock.advance(11)
    seen = statements(kitchen)
    assert not sweep(kitchen, "w2")
    assert "BEGIN IMMEDIATE" not in seen
    assert rings(kitchen) == []
    clock.advance(60)
    assert sweep(kitchen, "w2")
    assert rings(kitchen) == [(job_id, Priority.ROUTINE)]


def test_a_pass_rings_so_many_and_no_more(
    kitchen: Resources, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is for the next pass, once workers have taken those rings."""
    monkeypatch.setattr(sweeper, "RINGS_A_PASS", 3)
    for _ in range(5):
        make_job(kitchen.database)
    clock.advance(11)
    assert sweep(kitchen, "w1")
    assert len(rings(kitchen)) == 3
    assert sweep(kitchen, "w1")
    assert len(rings(kitchen)) == 3
    kitchen.queue.waiting = 1
    assert sweep(kitchen, "w1")
    assert len({job_id for job_id, _ in rings(kitchen)}) == 5


def test_without_a_broker_nothing_is_marked_as_rung(kitchen: Resources, clock: FixedClock) -> None:
    """Or the films would wait another turn once it is back."""
    make_job(kitchen.database)
    clock.advance(11)
    kitchen.queue.down = True
    sweep(kitchen, "w1")
    kitchen.queue.down = False
    sweep(kitchen, "w1")
    assert len(rings(kitchen)) == 1


# -- orphans ---------------------------------------------------------------------------------------------------------


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
