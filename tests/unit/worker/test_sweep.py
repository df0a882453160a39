"""The sweeper gives back, ends and rings; one at a time, and idle passes only read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import event, select

from shared.db import jobs, locks, queries
from shared.db.engine import Database, make_engine
from shared.db.tables import Explanation, Job
from shared.domain import Priority
from shared.wiring import Resources
from tests.explanations import add_explainer, make_explanation, make_result, take
from tests.fakes import FixedClock, LocalNotifier, RecordingQueue
from tests.jobs import claim, listen, make_job
from worker import sweep as sweeper
from worker.sweep import sweep


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
    listen(database, *Priority)
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


def test_a_film_that_was_put_back_is_not_rung_for_at_once(kitchen: Resources, clock: FixedClock) -> None:
    """However long it had waited without a ring: its worker takes one that comes soon for that of the claim."""
    make_job(kitchen.database)
    clock.advance(60)
    (held,) = claim(kitchen.database)
    with jobs.changing(kitchen.database) as changes:
        changes.retry(held, "worker:w1", "storage_down", 0.0)
    sweep(kitchen, "w1")
    assert rings(kitchen) == []
    clock.advance(11)
    sweep(kitchen, "w1")
    assert [job_id for job_id, _ in rings(kitchen)] == [held.id]


def test_films_of_a_class_that_nobody_takes_are_not_rung_for(
    kitchen: Resources, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their rings would pile up in the broker; those that lie there hold back none of the others."""
    monkeypatch.setattr(sweeper, "RINGS_A_PASS", 3)
    listen(kitchen.database, Priority.STAT)
    rings(kitchen).extend((f"old {n}", Priority.BULK) for n in range(9))
    for _ in range(9):
        make_job(kitchen.database, priority=Priority.BULK)
    made = make_job(kitchen.database, priority=Priority.STAT)
    clock.advance(11)
    assert sweep(kitchen, "w1")
    assert rings(kitchen)[9:] == [(made, Priority.STAT)]
    assert not sweep(kitchen, "w1")


def test_where_nobody_takes_films_none_is_rung_for(kitchen: Resources, clock: FixedClock) -> None:
    """Nor marked: they are rung for once somebody does."""
    listen(kitchen.database)
    job_id = make_job(kitchen.database)
    clock.advance(11)
    sweep(kitchen, "w1")
    assert rings(kitchen) == []
    listen(kitchen.database, *Priority)
    sweep(kitchen, "w1")
    assert rings(kitchen) == [(job_id, Priority.ROUTINE)]


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
        assert locks.take(session, sweeper.LOCK, "w1", timedelta(seconds=60), clock.now)
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
