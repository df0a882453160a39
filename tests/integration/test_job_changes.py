"""The job's state machine on SQLite and on a real PostgreSQL: claims, fences, leases, attempts, audit."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text, update

from shared.db import audit, jobs, locks, queries
from shared.db.engine import Database, database_clock, make_engine
from shared.db.leases import POISONED, Claim
from shared.db.tables import AuditEvent, Job, Result
from shared.domain import JobState, Priority
from shared.errors import IllegalTransition, JobNotFound, LeaseLost
from tests.fakes import FixedClock
from tests.jobs import claim, claimant, finish, make_job, make_record, register_model
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


def state_of(database: Database, job_id: str) -> tuple[str, int]:
    """(state, attempt)."""
    with database.read() as session:
        job = session.get_one(Job, job_id)
        return job.state, job.attempt


def actions(database: Database, job_id: str) -> list[str]:
    """The audit trail of a job."""
    with database.read() as session:
        statement = select(AuditEvent.action).where(AuditEvent.subject == job_id).order_by(AuditEvent.seq)
        return list(session.scalars(statement))


def test_a_job_goes_from_queued_to_succeeded_with_one_event_a_step(database: Database) -> None:
    """Accepted, claimed, succeeded: three states, three events, one result, and the chain holds."""
    job_id = make_job(database)
    (held,) = claim(database)
    assert state_of(database, job_id) == ("running", 1)
    finish(database, held)
    assert state_of(database, job_id) == ("succeeded", 1)
    assert actions(database, job_id) == ["accepted", "claimed", "succeeded"]
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Result)) == 1
        assert audit.verify(session) == (3, None)


def test_claims_follow_class_then_arrival(database: Database, clock: FixedClock) -> None:
    """Stat before routine before bulk, and within a class the first come first."""
    made = {}
    for name, priority in (
        ("b", Priority.BULK),
        ("r1", Priority.ROUTINE),
        ("r2", Priority.ROUTINE),
        ("s", Priority.STAT),
    ):
        made[make_job(database, priority=priority)] = name
        clock.advance(1)
    order = [made[claim(database, claimant(limit=1))[0].id] for _ in range(4)]
    assert order == ["s", "r1", "r2", "b"]


def test_a_pool_claims_its_classes_only(database: Database) -> None:
    """A pool for stat leaves bulk alone."""
    make_job(database, priority=Priority.BULK)
    assert claim(database, claimant(priorities=[Priority.STAT])) == []
    assert len(claim(database, claimant(priorities=[Priority.BULK]))) == 1


def test_a_claim_takes_no_more_than_its_limit(database: Database) -> None:
    """Twenty wait, eight are taken."""
    for _ in range(20):
        make_job(database)
    assert len(claim(database, claimant(limit=8))) == 8
    assert len(claim(database, claimant(limit=32))) == 12


def test_parallel_claims_share_the_films_without_overlap(database_url: str, database: Database) -> None:
    """Four claimants at once take every film exactly once."""
    ids = {make_job(database) for _ in range(60)}
    database.now = database_clock
    taken: list[str] = []

    def take(worker: str) -> None:
        while batch := claim(database, claimant(worker=worker, limit=4)):
            taken.extend(held.id for held in batch)

    threads = [threading.Thread(target=take, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(ids)


def test_a_batch_is_renewed_and_stored_at_once(postgres_url: str) -> None:
    """Both lock its films in one order, whatever order they lie in: neither waits for the other for ever."""
    database = Database(make_engine(postgres_url))
    made = sorted(make_job(database) for _ in range(32))
    model = register_model(database)
    held = {one.id: one for one in claim(database, claimant(limit=32))}
    for job_id in reversed(made):  # writes their rows anew, the last one first
        with database.begin() as session:
            session.execute(update(Job).where(Job.id == job_id).values(request_id="moved"))
    with database.begin() as session:
        session.execute(text("ANALYZE jobs"))  # or PostgreSQL goes by an index, in which they lie in order
    lost: list[list[Claim]] = []

    def store() -> None:
        with jobs.changing(database) as changes:
            lost.append(changes.finish("w1", [(held[job_id], make_record(model)) for job_id in made]))

    storing = threading.Thread(target=store)
    with jobs.changing(database) as changes:
        assert changes.renew([held[made[0]]], 60)
        storing.start()
        wait_until(lambda: _waits_for_a_lock(database), "the other transaction to wait for the first film")
        assert changes.renew([held[job_id] for job_id in made[1:]], 60)
    storing.join()
    assert lost == [[]]
    database.close()


def test_a_mixed_batch_is_renewed_and_stored_at_once(postgres_url: str) -> None:
    """Answers are stored before failures, of which any may come first by its id."""
    database = Database(make_engine(postgres_url))
    first, second = sorted(make_job(database) for _ in range(2))
    model = register_model(database)
    held = {one.id: one for one in claim(database)}
    renewed: list[list[Claim]] = []

    def renew() -> None:
        with jobs.changing(database) as changes:
            renewed.append(changes.renew([held[first], held[second]], 60))

    renewing = threading.Thread(target=renew)
    with jobs.changing(database) as changes:
        changes.lock([second, first])
        changes.finish("w1", [(held[second], make_record(model))])
        renewing.start()
        wait_until(lambda: _waits_for_a_lock(database), "the other transaction to wait for the first film")
        changes.retry(held[first], "worker:w1", "inference_failed", 1)
    renewing.join()
    assert len(renewed) == 1
    database.close()


def _waits_for_a_lock(database: Database) -> bool:
    with database.read() as session:
        waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return bool(session.scalar(waiting))


def test_a_late_attempt_cannot_write(database: Database, clock: FixedClock) -> None:
    """The zombie's finish, fail and retry are refused once another attempt owns the job; one result is there."""
    job_id = make_job(database)
    (zombie,) = claim(database)
    clock.advance(21)
    with jobs.changing(database) as changes:
        assert changes.requeue_expired() == [(job_id, JobState.QUEUED)]
    (heir,) = claim(database, claimant(worker="w2"))
    register_model(database)
    for write in (
        lambda: finish(database, zombie),
        lambda: _change(database, lambda c: c.fail(zombie, "worker:w1", "x", "x")),
        lambda: _change(database, lambda c: c.retry(zombie, "worker:w1", "x", 0)),
    ):
        with pytest.raises(LeaseLost):
            write()
    finish(database, heir, worker="w2")
    assert state_of(database, job_id) == ("succeeded", 2)
    assert actions(database, job_id) == ["accepted", "claimed", "requeued", "claimed", "succeeded"]


def test_of_a_finished_batch_the_lost_films_alone_are_left_out(database: Database) -> None:
    """One was cancelled meanwhile: it is told and has no result; its neighbours have theirs."""
    ids = [make_job(database) for _ in range(3)]
    held = claim(database)
    _change(database, lambda c: c.cancel("default", ids[1], "key:k"))
    record = make_record(register_model(database))
    lost = _change(database, lambda c: c.finish("w1", [(one, record) for one in held]))
    assert [one.id for one in lost] == [ids[1]]
    assert [state_of(database, job_id)[0] for job_id in ids] == ["succeeded", "cancelled", "succeeded"]
    with database.read() as session:
        assert set(session.scalars(select(Result.job_id))) == {ids[0], ids[2]}
    assert [actions(database, job_id)[-1] for job_id in ids] == ["succeeded", "cancelled", "succeeded"]


def test_a_renewed_lease_holds_and_a_lost_one_is_told(database: Database, clock: FixedClock) -> None:
    """Renewal moves the lease's end; a cancelled job is missing from what is kept."""
    first, second = make_job(database), make_job(database)
    held = claim(database)
    clock.advance(15)
    _change(database, lambda c: c.cancel("default", second, "key:k"))
    kept = _change(database, lambda c: c.renew(held, 20))
    assert [claim.id for claim in kept] == [first]
    clock.advance(15)
    assert _change(database, lambda c: c.requeue_expired()) == []
    clock.advance(6)
    assert _change(database, lambda c: c.requeue_expired()) == [(first, JobState.QUEUED)]


def test_a_film_that_kills_its_workers_is_failed_after_its_attempts(database: Database, clock: FixedClock) -> None:
    """Three claims without an answer and the job is failed as poisoned."""
    job_id = make_job(database, max_attempts=3)
    for _ in range(3):
        assert len(claim(database)) == 1
        clock.advance(21)
        _change(database, lambda c: c.requeue_expired())
    assert state_of(database, job_id) == ("failed", 3)
    assert claim(database) == []
    with database.read() as session:
        assert queries.get_job(session, "default", job_id).error.code == POISONED
    assert actions(database, job_id)[-1] == "failed"


def test_a_suspect_is_claimed_alone(database: Database, clock: FixedClock) -> None:
    """After a crashed batch its films come one at a time; fresh films still come in batches."""
    for _ in range(3):
        make_job(database)
    assert len(claim(database)) == 3
    clock.advance(21)
    _change(database, lambda c: c.requeue_expired())
    make_job(database)
    assert [len(claim(database)) for _ in range(5)] == [1, 1, 1, 1, 0]


def test_cancel_ends_a_queued_and_a_running_job_and_nothing_else(database: Database) -> None:
    """Cancel is idempotent, refused once a job ended otherwise, and a foreign tenant sees no job."""
    queued = make_job(database)
    _change(database, lambda c: c.cancel("default", queued, "key:k"))
    assert _change(database, lambda c: c.cancel("default", queued, "key:k")) is JobState.CANCELLED
    running = make_job(database)
    (held,) = claim(database)
    _change(database, lambda c: c.cancel("default", running, "key:k"))
    with pytest.raises(LeaseLost):
        finish(database, held)
    done = make_job(database)
    finish(database, claim(database)[0])
    with pytest.raises(IllegalTransition):
        _change(database, lambda c: c.cancel("default", done, "key:k"))
    with pytest.raises(JobNotFound):
        _change(database, lambda c: c.cancel("another", queued, "key:k"))
    assert actions(database, queued) == ["accepted", "cancelled"]


def test_a_job_past_its_time_expires_and_is_not_claimed(database: Database, clock: FixedClock) -> None:
    """`expires_at` in the past: no claim, and the sweeper ends it."""
    job_id = make_job(database, expires_in_s=5)
    clock.advance(6)
    assert claim(database) == []
    assert _change(database, lambda c: c.expire_due()) == [job_id]
    assert state_of(database, job_id) == ("expired", 0)


def test_a_retried_film_waits_for_its_time(database: Database, clock: FixedClock) -> None:
    """After a transient error the film is due again only after its delay."""
    make_job(database)
    (held,) = claim(database)
    _change(database, lambda c: c.retry(held, "worker:w1", "x", 5))
    assert claim(database) == []
    clock.advance(5)
    assert len(claim(database)) == 1


def test_an_unrung_film_is_rung_once_a_while(database: Database, clock: FixedClock) -> None:
    """Only due films silent for long enough, and each once until it is silent again."""
    job_id = make_job(database, priority=Priority.STAT)
    assert _change(database, lambda c: c.mark_rung(10, 100)) == []
    clock.advance(11)
    assert _change(database, lambda c: c.mark_rung(10, 100)) == [(job_id, Priority.STAT)]
    assert _change(database, lambda c: c.mark_rung(10, 100)) == []


def test_one_owner_has_a_turn_until_it_is_over(database: Database, clock: FixedClock) -> None:
    """The sweeper's lock goes to one owner, stays with it, and falls free after its time."""

    def take(owner: str) -> bool:
        with database.begin() as session:
            return locks.take(session, "sweeper", owner, timedelta(seconds=10), database.now(session))

    assert [take("a"), take("b"), take("a")] == [True, False, True]
    clock.advance(10)
    assert [take("b"), take("a")] == [True, False]


def test_a_failed_transaction_leaves_no_trace(database: Database) -> None:
    """An exception in the block undoes state and audit alike."""
    job_id = make_job(database)

    def claim_and_break(changes: jobs.JobChanges) -> None:
        changes.claim(claimant())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _change(database, claim_and_break)
    assert state_of(database, job_id) == ("queued", 0)
    assert actions(database, job_id) == ["accepted"]


def _change(database: Database, change):  # noqa: ANN001, ANN202  any change, any answer
    with jobs.changing(database) as changes:
        return change(changes)
