"""What was kept for its time goes with its film; nothing does where the time is not set or the films are not ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from shared.db import locks
from shared.db.engine import Database, make_engine
from shared.db.tables import Job
from shared.errors import StorageDown
from shared.wiring import Resources
from tests.fakes import FixedClock, MemoryBlobs
from tests.jobs import claim, finish, make_job
from tests.waiting import wait_until
from worker import loops, retention
from worker.retention import delete_old
from worker.runtime import Runtime

DAY_S = 86_400.0


@pytest.fixture
def kept(resources: Resources, sqlite_url: str, clock: FixedClock) -> Iterator[Resources]:
    """Resources that keep films for a day, at a time that the test sets."""
    database = Database(make_engine(sqlite_url), clock)
    settings = resources.settings.model_copy(update={"retain_days": 1.0})
    yield replace(resources, database=database, settings=settings)
    database.close()


@dataclass(slots=True)
class Stuck(MemoryBlobs):
    """Some of them cannot be removed."""

    stuck: set[str] = field(default_factory=set)

    def delete(self, ref: str) -> None:
        """Unless it is one of those."""
        if ref in self.stuck:
            raise StorageDown("The film could not be removed.")
        MemoryBlobs.delete(self, ref)


def answer(resources: Resources) -> str:
    """A film that is stored and answered; the reference of its film."""
    ref = resources.blobs.put("default", f"job-{len(films(resources))}", b"film")
    make_job(resources.database, blob_ref=ref)
    finish(resources.database, claim(resources.database)[0])
    return ref


def films(resources: Resources) -> set[str]:
    """References of what is stored."""
    assert isinstance(resources.blobs, MemoryBlobs)
    return set(resources.blobs.data)


def jobs_left(resources: Resources) -> int:
    """How many rows there are."""
    with resources.database.read() as session:
        return session.query(Job).count()


def test_films_go_once_their_time_is_over(kept: Resources, clock: FixedClock) -> None:
    """The older with its row; the younger a little later; nothing before."""
    older = answer(kept)
    clock.advance(0.6 * DAY_S)
    younger = answer(kept)
    assert delete_old(kept, "w1") == 0
    clock.advance(0.6 * DAY_S)
    assert delete_old(kept, "w1") == 1
    assert films(kept) == {younger}
    clock.advance(0.6 * DAY_S)
    assert delete_old(kept, "w1") == 1
    assert (films(kept), jobs_left(kept)) == (set(), 0)
    assert older != younger


def test_they_are_kept_for_good_unless_told_otherwise(kept: Resources, clock: FixedClock) -> None:
    """The default."""
    answer(kept)
    clock.advance(10_000 * DAY_S)
    forever = replace(kept, settings=kept.settings.model_copy(update={"retain_days": None}))
    assert delete_old(forever, "w1") == 0
    assert jobs_left(kept) == 1


def test_many_go_in_batches_until_the_worker_ends(
    kept: Resources, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All five, two at a time; a worker that ends leaves the rest to the next one."""
    monkeypatch.setattr(retention, "BATCH", 2)
    for _ in range(5):
        answer(kept)
    clock.advance(2 * DAY_S)
    answers = iter([False, True])
    rests: list[float] = []

    def rest(seconds: float) -> bool:
        rests.append(seconds)
        return next(answers)

    answer(kept)
    clock.advance(2 * DAY_S)
    assert delete_old(kept, "w1", rest) == 4
    assert rests == [retention.REST_S] * 2
    assert [delete_old(kept, "w1") for _ in range(2)] == [2, 0]
    assert films(kept) == set()


def test_a_film_that_cannot_be_removed_keeps_none_of_the_others(kept: Resources, clock: FixedClock) -> None:
    """Its row is gone with the others', so it is an orphan of a deleted job: whatever else there is, that one goes."""
    blobs = Stuck()
    stuck = replace(kept, blobs=blobs)
    refs = [answer(stuck) for _ in range(3)]
    clock.advance(2 * DAY_S)
    blobs.stuck = {refs[1]}
    with pytest.raises(StorageDown):
        delete_old(stuck, "w1")
    assert (films(stuck), jobs_left(stuck)) == ({refs[1]}, 0)


def test_one_worker_at_a_time_deletes(kept: Resources, clock: FixedClock) -> None:
    """While another has the turn, nothing is done."""
    answer(kept)
    clock.advance(2 * DAY_S)
    with kept.database.begin() as session:
        assert locks.take(session, retention.LOCK, "w2", timedelta(seconds=retention.LOCK_S), clock.now)
    assert delete_old(kept, "w1") == 0
    assert delete_old(kept, "w2") == 1


def test_nothing_is_deleted_beside_another_databases_films(kept: Resources, clock: FixedClock) -> None:
    """Rows would go whose films stay."""
    answer(kept)
    clock.advance(2 * DAY_S)
    assert isinstance(kept.blobs, MemoryBlobs)
    kept.blobs.away = True
    with pytest.raises(StorageDown):
        delete_old(kept, "w1")
    assert jobs_left(kept) == 1


def test_a_workers_purge_deletes_what_was_kept_for_its_time(
    runtime: Runtime, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without anybody asking; and what fails there keeps no orphan from being removed."""
    settings = resources.settings.model_copy(update={"retain_days": 1e-9})
    runtime.kitchen = replace(runtime.kitchen, resources=replace(resources, settings=settings))
    ref = answer(resources)
    monkeypatch.setattr(loops, "FIRST_PURGE_S", 0.01)
    thread = threading.Thread(target=loops.purge_loop, args=(runtime,))
    thread.start()
    wait_until(lambda: ref not in films(resources), "the film to be deleted")
    runtime.shutdown.finish()
    thread.join(60)
    assert jobs_left(resources) == 0


class Turns(threading.Event):
    """Set after so many waits, each of which is noted."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self.turns = turns
        self.waited_s: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        """At once."""
        self.waited_s.append(timeout)
        return len(self.waited_s) > self.turns


def test_a_worker_that_lives_for_minutes_only_purges_too(runtime: Runtime) -> None:
    """The first time is soon after its start; then it is seldom."""
    runtime.shutdown.finished = Turns(2)
    loops.purge_loop(runtime)
    assert runtime.shutdown.finished.waited_s == [60, 600, 600]
