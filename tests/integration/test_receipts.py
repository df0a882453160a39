"""A result names the event that recorded it, on both databases, in the statement that reads the job."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from shared import wire
from shared.db import audit, queries
from shared.db.audit import Event
from shared.db.engine import Database
from shared.db.tables import AuditEvent
from tests.api import make_tenant
from tests.explanations import explain, make_explanation, make_result
from tests.jobs import claim, finish, make_job
from tests.statements import statements

pytestmark = pytest.mark.integration


def read(database: Database, job_id: str) -> wire.Job:
    """As the API answers it."""
    with database.read_core() as sql:
        return queries.get_job(sql, "default", job_id)


def test_a_result_has_the_receipt_of_the_event_that_recorded_it(database: Database) -> None:
    """Number and hash, whatever happened to the job since; one read gives both."""
    job_id = make_result(database)
    make_explanation(database, job_id)
    explain(database)
    with statements(database) as found:
        job = read(database, job_id)
    with database.read() as session:
        recorded = session.scalars(
            select(AuditEvent).where(AuditEvent.subject == job_id, AuditEvent.action == "succeeded")
        ).one()
        assert session.scalar(select(AuditEvent.seq).order_by(AuditEvent.seq.desc()).limit(1)) != recorded.seq
    assert job.result is not None
    assert job.result.receipt == wire.Receipt(seq=recorded.seq, hash=recorded.hash)
    assert len(found) == 1, "\n".join(found)
    with database.read_core() as sql:
        assert queries.get_jobs(sql, [job_id]) == {job_id: job}, "who waited is answered alike"


def test_another_chain_gives_no_receipt(database: Database) -> None:
    """An event of the same name in another stream, and an earlier one, is none of this tenant's."""
    job_id = make_job(database)
    make_tenant(database, "other")
    with database.begin() as session:
        audit.append(session, "other", [Event("x", "succeeded", job_id)], database.now(session))
        forged = session.scalars(select(AuditEvent.hash).where(AuditEvent.actor == "x")).one()
    finish(database, claim(database)[0])
    result = read(database, job_id).result
    assert result is not None
    assert result.receipt is not None
    assert result.receipt.hash != forged


def test_without_a_result_there_is_no_receipt(database: Database) -> None:
    """Nor in a list, whose rows would each ask the chain."""
    assert read(database, make_job(database)).result is None
    make_result(database)
    with database.read_core() as sql:
        page = queries.list_jobs(sql, "default", wire.ListQuery())
    assert [job.result and job.result.receipt for job in page.jobs] == [None, None]
