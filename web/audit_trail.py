"""The use case "read a job's audit trail", for callers that may read it. Knows no Flask."""

from __future__ import annotations

from shared import wire
from shared.audit_wire import AuditQuery, AuditTrail
from shared.db import trails
from shared.db.engine import Sql
from shared.db.keys import Principal
from shared.wiring import Resources
from web.offload import read_row


def get_trail(resources: Resources, who: Principal, job_id: str, query: AuditQuery) -> AuditTrail:
    """Return one page of a job's trail; raises as `shared.db.trails.get_trail` does."""
    return read_row(resources.database, lambda sql: trails.get_trail(sql, who, job_id, query))


def find_trail(sql: Sql, who: Principal, job: wire.Job) -> AuditTrail | None:
    """Return the first page of the trail of a job that the caller has read; None if it may not read the trail."""
    return trails.get_trail(sql, who, job.id, AuditQuery()) if trails.may_read(sql, who, job.id) else None
