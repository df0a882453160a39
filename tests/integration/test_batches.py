"""Batches on SQLite and on a real PostgreSQL: what is counted, listed and cancelled is the batch's, and no more."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import func, select, update

from shared.db import audit, audit_comparison, batches, deletions, jobs, queries
from shared.db.engine import Database
from shared.db.jobs import CANCEL_STEP
from shared.db.keys import Principal
from shared.db.tables import AuditEvent, Job
from shared.domain import JobState, Role, Verdict
from shared.errors import BatchNotFound, LeaseLost
from shared.wire import Batch, ListQuery
from tests.api import make_tenant
from tests.api_cases import UNKNOWN
from tests.jobs import claim, claimant, finish, make_batch, make_job, register_model
from tests.statements import statements

pytestmark = pytest.mark.integration

ADMIN = Principal("adminkey", "default", Role.ADMIN)


def look(database: Database, batch_id: str, tenant: str = "default") -> Batch:
    """The batch as it is now."""
    with database.read() as session:
        return batches.get_batch(session, tenant, batch_id)


def cancel(database: Database, batch_id: str, after: str = "") -> list[str]:
    """One step."""
    with jobs.changing(database) as changes:
        return changes.cancel_batch("default", batch_id, "key:testkey", after)


def counted(batch: Batch) -> dict[str, int]:
    """What is not zero, by status and verdict."""
    return {name.value: number for found in (batch.counts, batch.verdicts) for name, number in found.items() if number}


def test_a_batch_counts_its_jobs_and_no_other(database: Database) -> None:
    """By status and by verdict; a film outside of it and one of another batch play no part."""
    batch_id, other = make_batch(database), make_batch(database)
    assert (look(database, batch_id).done, counted(look(database, batch_id))) == (True, {})
    for _ in range(4):
        make_job(database, batch_id=batch_id)
    for held, verdict in zip(claim(database, claimant(limit=2)), ("normal", "covid19"), strict=True):
        finish(database, held, verdict=verdict)
    make_job(database, batch_id=other)
    make_job(database)
    claim(database, claimant(limit=1))
    found = look(database, batch_id)
    assert counted(found) == {"queued": 1, "running": 1, "succeeded": 2, "normal": 1, "covid19": 1}
    assert (found.total, found.done) == (4, False)
    assert found.counts.keys() == set(JobState)
    assert found.verdicts.keys() == set(Verdict)


def test_a_list_of_a_batch_passes_every_other_filter_on(database: Database) -> None:
    """Newest first, page by page; by status and verdict; another tenant's is empty."""
    batch_id = make_batch(database)
    made = [make_job(database, batch_id=batch_id) for _ in range(4)]
    make_job(database)
    for held, verdict in zip(claim(database, claimant(limit=2)), ("normal", "covid19"), strict=True):
        finish(database, held, verdict=verdict)

    def listed(tenant: str = "default", **query: object) -> list[str]:
        with database.read() as session:
            found = queries.list_jobs(session, tenant, ListQuery(batch=batch_id, **query))
            assert all(job.batch_id == batch_id for job in found.jobs)
            return [job.id for job in found.jobs]

    assert listed() == made[::-1]
    assert listed(limit=2, cursor=made[3]) == made[2:0:-1]
    assert listed(status=JobState.QUEUED) == made[:1:-1]
    assert listed(verdict=Verdict.COVID19) == [made[1]]
    assert listed(verdict=Verdict.COVID19, status=JobState.FAILED) == listed("clinic") == []


def test_a_batch_of_another_tenant_is_an_unknown_one(database: Database) -> None:
    """The same words for both."""
    make_tenant(database, "clinic")
    theirs = make_batch(database, tenant="clinic")
    said = set()
    for batch_id in (theirs, UNKNOWN):
        with pytest.raises(BatchNotFound) as caught:
            look(database, batch_id)
        said.add(str(caught.value))
    assert len(said) == 1
    assert look(database, theirs, "clinic").total == 0


def test_a_step_of_cancelling_takes_what_has_not_ended_and_no_more(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting and running alike, from the first on, each with its audit event; a worker's result is not published."""
    monkeypatch.setattr(jobs, "CANCEL_STEP", 3)
    batch_id = make_batch(database)
    made = [make_job(database, batch_id=batch_id) for _ in range(6)]
    outside = make_job(database)
    ended, running = claim(database, claimant(limit=2))
    finish(database, ended)
    assert cancel(database, batch_id) == made[1:4]
    assert cancel(database, batch_id, made[3]) == made[4:]
    assert cancel(database, batch_id) == []
    assert counted(look(database, batch_id)) == {"succeeded": 1, "cancelled": 5, "normal": 1}
    with pytest.raises(LeaseLost):
        finish(database, running)
    with database.read() as session:
        assert queries.get_job(session, "default", outside).status == "queued"
        events = select(AuditEvent.subject).where(AuditEvent.action == "cancelled", AuditEvent.actor == "key:testkey")
        assert list(session.scalars(events.order_by(AuditEvent.seq))) == made[1:]
        assert audit.verify(session)[1] is None
        assert audit_comparison.compare(session) == (7, None)


def test_another_tenant_cancels_nothing(database: Database) -> None:
    """Its own name with our id finds no job."""
    batch_id = make_batch(database)
    make_job(database, batch_id=batch_id)
    make_tenant(database, "clinic")
    with jobs.changing(database) as changes:
        assert changes.cancel_batch("clinic", batch_id, "key:other") == []
    assert counted(look(database, batch_id)) == {"queued": 1}


def test_a_step_costs_as_many_statements_however_many_films(database: Database) -> None:
    """The rows, and three of the chain."""
    batch_id = make_batch(database)
    for _ in range(20):
        make_job(database, batch_id=batch_id)
    with statements(database) as found:
        assert len(cancel(database, batch_id)) == 20 < CANCEL_STEP
    assert len(found) == 4, "\n".join(found)


def test_the_audit_says_in_which_batch_a_film_was_accepted(database: Database) -> None:
    """A row that was moved to another batch is found; a film outside of any has no such fact."""
    batch_id = make_batch(database)
    job_id, outside = make_job(database, batch_id=batch_id), make_job(database)
    with database.read() as session:
        bodies = dict(session.execute(select(AuditEvent.subject, AuditEvent.body)).all())
    assert f'"batch_id":"{batch_id}"' in bodies[job_id]
    assert "batch_id" not in bodies[outside]
    with database.begin() as session:
        session.execute(update(Job).where(Job.id == job_id).values(batch_id=UNKNOWN))
    with database.read() as session:
        difference = audit_comparison.compare(session)[1]
    assert difference is not None
    assert (difference.job_id, "batch_id" in difference.problem) == (job_id, True)


def test_a_batch_whose_jobs_are_deleted_is_an_empty_one(database: Database) -> None:
    """It goes on being there: its id, and when it was made."""
    batch_id = make_batch(database)
    job_id = make_job(database, batch_id=batch_id)
    with jobs.changing(database) as changes:
        deletions.delete_job(changes, ADMIN, job_id)
    found = look(database, batch_id)
    assert (found.total, found.done, counted(found)) == (0, True, {})
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 0


def test_cancelling_beside_workers_leaves_each_film_one_end(database: Database) -> None:
    """Two claim and finish while steps of three cancel: nobody waits for ever, and rows and audit say the same."""
    batch_id = make_batch(database)
    for _ in range(60):
        make_job(database, batch_id=batch_id)
    register_model(database)
    begun, is_cancelling = threading.Barrier(3), threading.Event()

    def work(name: str) -> None:
        begun.wait()
        while taken := claim(database, claimant(worker=name, limit=2)):
            for held in taken:
                with suppress(LeaseLost):
                    finish(database, held, worker=name)
            assert is_cancelling.wait(60)

    def stop() -> None:
        begun.wait()
        after = ""
        while cancelled := cancel(database, batch_id, after):
            after = cancelled[-1]
            is_cancelling.set()

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(3) as threads:
        patch.setattr(jobs, "CANCEL_STEP", 3)
        for done in [threads.submit(work, "w1"), threads.submit(work, "w2"), threads.submit(stop)]:
            done.result(120)
    found = look(database, batch_id)
    assert (found.done, found.counts[JobState.SUCCEEDED] + found.counts[JobState.CANCELLED]) == (True, 60)
    assert found.counts[JobState.CANCELLED] > 0
    with database.read() as session:
        assert audit_comparison.compare(session) == (60, None)
