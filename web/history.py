"""The use case "what happened to this job": its audit trail, for those who may read it. Knows no Flask."""

from __future__ import annotations

from shared import wire
from shared.audit_wire import AuditQuery, AuditTrail
from shared.db import trails
from shared.db.engine import Sql
from shared.db.keys import Principal
from shared.wiring import Resources
from web.offload import read_row


def get_trail(resources: Resources, who: Principal, job_id: str, query: AuditQuery) -> AuditTrail:
    """One page of it; raises as `shared.db.trails.get_trail` does."""
    return read_row(resources.database, lambda sql: trails.get_trail(sql, who, job_id, query))


def find_history(resources: Resources, who: Principal, job: wire.Job) -> AuditTrail | None:
    """The first page of a job that the caller has read; None where its trail is not for them."""

    def query(sql: Sql) -> AuditTrail | None:
        return trails.get_trail(sql, who, job.id, AuditQuery()) if trails.may_read(sql, who, job.id) else None

    return read_row(resources.database, query)
