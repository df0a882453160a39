"""The audit trail of one job on both databases: in order, page by page, of its own tenant's chain alone."""

from __future__ import annotations

import pytest

from shared.audit_wire import AuditQuery
from shared.db import audit, trails
from shared.db.audit import Event
from shared.db.engine import Database
from shared.db.keys import Principal
from shared.domain import Role
from tests.api import make_tenant
from tests.explanations import make_result
from tests.jobs import make_job

pytestmark = pytest.mark.integration

WHO = Principal("k", "default", Role.AUDITOR)


def test_a_trail_comes_in_order_and_in_pages(database: Database) -> None:
    """Whatever else the chains hold, an event of the same job in another one too; behind the last there is nothing."""
    job_id = make_result(database)
    make_job(database)
    make_tenant(database, "other")
    with database.begin() as session:
        audit.append(session, "other", [Event("x", "looked", job_id)], database.now(session))
    seen, cursor = [], 0
    with database.read_core() as sql:
        while True:
            page = trails.get_trail(sql, WHO, job_id, AuditQuery(limit=2, cursor=cursor))
            seen += page.events
            if page.next_cursor is None:
                break
            cursor = page.next_cursor
        assert [event.action for event in seen] == ["accepted", "claimed", "succeeded"]
        assert [event.seq for event in seen] == sorted({event.seq for event in seen})
        assert trails.get_trail(sql, WHO, job_id, AuditQuery(cursor=2**63 - 1)).events == []
