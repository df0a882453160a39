"""The keeper renews what is in hand, drops what was lost, and ends a process that computes too long."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime

import pytest
from sqlalchemy import event, select

from shared.db import explanations, jobs
from shared.db.engine import Database, make_engine
from shared.db.tables import Explanation, Job
from shared.domain import JobState
from tests.explanations import make_explanation, make_result, take
from tests.fakes import FixedClock
from tests.jobs import claim, make_job
from worker import lease
from worker.lease import LeaseKeeper


@pytest.fixture
def database(sqlite_url: str, clock: FixedClock) -> Iterator[Database]:
    """SQLite at a time that the test sets."""
    opened = Database(make_engine(sqlite_url), clock)
    yield opened
    opened.close()


class Limits:
    """Counts how often the process would have ended."""

    def __init__(self) -> None:
        self.given_up = 0

    def give_up(self) -> None:
        """Instead of ending it."""
        self.given_up += 1


def make_keeper(database: Database, limits: Limits, run_limit_s: float = 60.0) -> LeaseKeeper:
    """A keeper of 20-second leases."""
    return LeaseKeeper(database, lease_s=20.0, run_limit_s=run_limit_s, give_up=limits.give_up)


def leases(database: Database) -> list[datetime | None]:
    """The end of each job's lease, in the order of their making."""
    with database.read() as session:
        return [job.lease_until for job in session.query(Job).order_by(Job.id)]


def test_a_tick_moves_the_leases_on(database: Database, clock: FixedClock) -> None:
    """To the database's now + 20 s, so that the sweeper leaves the films alone."""
    make_job(database)
    held, keeper = claim(database), make_keeper(database, Limits())
    with keeper.holding(held):
        for _ in range(5):
            clock.advance(15)
            keeper.tick()
    (until,) = leases(database)
    assert until is not None
    assert (until - clock.now).total_seconds() == 20
    with jobs.changing(database) as changes:
        assert changes.requeue_expired() == []


def test_a_keeper_without_a_batch_writes_nothing(database: Database) -> None:
    """Before the first and after the last batch."""
    make_job(database)
    held, keeper = claim(database), make_keeper(database, Limits())
    with keeper.holding(held):
        pass
    before, statements = leases(database), []
    event.listen(database.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    keeper.tick()
    assert leases(database) == before
    assert not [statement for statement in statements if statement.startswith("UPDATE")]


def test_a_lost_film_is_not_renewed_again(database: Database, clock: FixedClock) -> None:
    """Cancelled: dropped from what is kept; its neighbour is kept."""
    first, second = make_job(database), make_job(database)
    held, keeper = claim(database), make_keeper(database, Limits())
    with keeper.holding(held):
        with jobs.changing(database) as changes:
            changes.cancel("default", first, "key:k")
        keeper.tick()
        assert [kept.id for holding in keeper._holdings for kept in holding.claims] == [second]
        clock.advance(10)
        keeper.tick()
    lost, kept = leases(database)
    assert lost is None
    assert kept is not None
    assert (kept - clock.now).total_seconds() == 20


def test_a_film_in_another_attempts_hands_is_left_to_it(database: Database, clock: FixedClock) -> None:
    """The fence: an old attempt renews nothing."""
    make_job(database)
    held, keeper = claim(database), make_keeper(database, Limits())
    with keeper.holding(held):
        clock.advance(21)
        with jobs.changing(database) as changes:
            assert [state for _, state in changes.requeue_expired()] == [JobState.QUEUED]
        claim(database)
        before = leases(database)
        clock.advance(1)
        keeper.tick()
        assert leases(database) == before


def test_past_the_run_limit_the_process_ends(database: Database) -> None:
    """And the lease is not renewed any more: another worker gets the film."""
    make_job(database)
    limits = Limits()
    held, keeper = claim(database), make_keeper(database, limits, run_limit_s=-1.0)
    before = leases(database)
    with keeper.holding(held):
        keeper.tick()
    assert limits.given_up == 1
    assert leases(database) == before


def test_the_run_limit_holds_for_a_batch_whose_films_are_all_lost(database: Database) -> None:
    """A hung network is ended even where its films were cancelled meanwhile."""
    job_id = make_job(database)
    limits = Limits()
    held, keeper = claim(database), make_keeper(database, limits)
    with keeper.holding(held):
        with jobs.changing(database) as changes:
            changes.cancel("default", job_id, "key:k")
        keeper.tick()
        keeper._holdings[0].deadline = 0.0
        keeper.tick()
    assert limits.given_up == 1


def test_the_run_limit_holds_while_the_database_hangs(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that watches it asks no database: another one renews, and may wait for ever."""
    monkeypatch.setattr(lease, "WATCH_EVERY_S", 0.01)
    ended = threading.Event()
    keeper = LeaseKeeper(database, 30.0, 0.0, ended.set)
    make_job(database)
    held = claim(database)
    database.close()
    monkeypatch.setattr(Database, "begin_core", lambda _: pytest.fail("it asked the database"))
    with keeper.holding(held):
        stop = threading.Event()
        watcher = threading.Thread(target=keeper.watch, args=(stop,))
        watcher.start()
        try:
            assert ended.wait(60)
        finally:
            stop.set()
            watcher.join()


def test_within_the_limit_and_after_the_batch_nothing_ends(database: Database) -> None:
    """The limit is a batch's, not the process's."""
    make_job(database)
    limits = Limits()
    held, keeper = claim(database), make_keeper(database, limits)
    with keeper.holding(held):
        keeper.tick()
    keeper.tick()
    assert limits.given_up == 0


def test_an_explanation_is_kept_and_given_more_time(database: Database, clock: FixedClock) -> None:
    """Its own row's lease is renewed, and the run limit counts as often as it is told."""
    make_explanation(database, make_result(database))
    order = take(database)
    assert order is not None
    limits = Limits()
    keeper = make_keeper(database, limits, run_limit_s=-1.0)
    with keeper.holding([order.held], explanations.changing, patience=-60.0):
        clock.advance(15)
        keeper.tick()
    with database.read() as session:
        until = session.scalars(select(Explanation.lease_until)).one()
    assert until is not None
    assert (until - clock.now).total_seconds() == 20
    assert limits.given_up == 0
    with keeper.holding([order.held], explanations.changing):
        keeper.tick()
    assert limits.given_up == 1


def test_a_batch_that_fails_is_let_go(database: Database) -> None:
    """An exception in the block ends the keeping too."""
    make_job(database)
    held, keeper = claim(database), make_keeper(database, Limits())
    with pytest.raises(ZeroDivisionError), keeper.holding(held):
        raise ZeroDivisionError
    assert keeper._holdings == []


def test_a_dead_database_does_not_end_the_keeping(database: Database) -> None:
    """The films stay in hand; the next tick tries again."""
    make_job(database)
    held, keeper = claim(database), make_keeper(Database(make_engine("sqlite://")), Limits())  # no tables
    with keeper.holding(held):
        keeper.tick()
        assert keeper._holdings[0].claims == held


def test_the_thread_outlives_any_fault(database: Database) -> None:
    """It alone enforces the run limit, so nothing may end it but its stop."""
    stop, ticks = threading.Event(), []

    class Faulty(LeaseKeeper):
        def tick(self) -> None:
            ticks.append(1)
            if len(ticks) == 3:
                stop.set()
            raise ZeroDivisionError

    Faulty(database, lease_s=0.003, run_limit_s=60.0).run(stop)
    assert len(ticks) == 3


def test_giving_up_ends_the_process_at_once() -> None:
    """Without cleaning up: status 75, whatever else would have run."""
    code = "import atexit\natexit.register(print, 'cleaned up')\nfrom worker.lease import end_process\nend_process()\n"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (lease.EXIT_RUN_LIMIT, "")
