"""A request's trace, from its `traceparent` to the worker's log lines, on both databases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from shared.db.claim_order import Claimant
from shared.db.engine import Database
from shared.db.tables import AuditEvent, Job
from shared.domain import Priority
from shared.wiring import Resources
from tests.api import Api, make_key
from tests.api_answers import job_of
from tests.fakes import FakeEngine, MemoryBlobs
from tests.jobs import register_model
from worker.lease import LeaseKeeper
from worker.pipeline import process
from worker.stages import Kitchen

pytestmark = pytest.mark.integration

TRACES = ("4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c")


def work(resources: Resources) -> list[Mapping[str, Any]]:
    """Answer what waits; what a worker's log says meanwhile."""
    register_model(resources.database)
    who = Claimant("w1", tuple(Priority), 8, 20.0)
    keeper = LeaseKeeper(resources.database, lease_s=20.0, run_limit_s=60.0)
    with capture_logs() as lines:
        process(Kitchen(resources, FakeEngine(), who, keeper), batches=1)
    return lines


def test_a_films_trace_is_in_the_workers_lines(resources: Resources, database: Database) -> None:
    """In the batch's line, and in that of a film that cannot be loaded; the row and the audit have it too."""
    api = Api(replace(resources, database=database), make_key(database))
    sent = [job_of(api.submit(headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}), 202).id for trace in TRACES]
    with database.read() as session:
        lost = session.get_one(Job, sent[1]).blob_ref
        assert list(session.scalars(select(Job.request_id).order_by(Job.id))) == list(TRACES)
        bodies = session.scalars(
            select(AuditEvent.body).where(AuditEvent.action == "accepted").order_by(AuditEvent.seq)
        )
        assert [trace in body for trace, body in zip(TRACES, bodies, strict=True)] == [True, True]
    assert isinstance(resources.blobs, MemoryBlobs)
    resources.blobs.delete(lost)
    lines = {line["event"]: line for line in work(api.resources)}
    assert sorted(lines["batch.done"]["request_ids"]) == sorted(TRACES)
    assert (lines["film.not_loaded"]["job_id"], lines["film.not_loaded"]["request_id"]) == (sent[1], TRACES[1])
