"""The audit trail of one job, and the right to read it. Changes nothing.

Admins and auditors read the trails of all jobs of their tenant, deleted ones included: the trail is kept for them. The
key that sent a film reads its trail until the job is deleted; then it gets `JobDeleted` as every other key, since the
trail contains facts about the film that the deletion was to remove.
"""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy import bindparam, select

from shared import audit_wire
from shared.audit_wire import AuditQuery, AuditTrail
from shared.db.engine import Sql
from shared.db.keys import Principal
from shared.db.queries import NO_JOB, missing
from shared.db.tables import AuditEvent, Job
from shared.errors import Forbidden, JobNotFound
from shared.rights import Right


def may_read(sql: Sql, who: Principal, job_id: str) -> bool:
    """Return whether this key may read the trail of an existing job of its tenant."""
    if who.may(Right.AUDIT_ANY):
        return True
    return who.may(Right.AUDIT_OWN) and _owner(sql, who.tenant, job_id) == who.key_id


def get_trail(sql: Sql, who: Principal, job_id: str, query: AuditQuery) -> AuditTrail:
    """Return one page of a job's trail.

    Raises:
        JobNotFound: unknown, of another tenant, or deleted (`JobDeleted`) and the caller is no admin or auditor.
        Forbidden: the caller neither sent the film nor may read all trails.
    """
    _check(sql, who, job_id)
    parameters = {"tenant": who.tenant, "job_id": job_id, "after": query.cursor, "most": query.limit + 1}
    rows = sql.execute(_EVENTS, parameters).all()
    events = [
        audit_wire.AuditEvent(
            seq=row.seq,
            at=datetime.fromisoformat(row.at),
            actor=row.actor,
            action=row.action,
            facts=json.loads(row.body)["facts"],
            prev_hash=row.prev_hash,
            hash=row.hash,
        )
        for row in rows[: query.limit]
    ]
    has_more = len(rows) > query.limit
    return AuditTrail(job_id=job_id, tenant=who.tenant, events=events, next_cursor=events[-1].seq if has_more else None)


def _check(sql: Sql, who: Principal, job_id: str) -> None:
    if who.may(Right.AUDIT_ANY):
        if sql.scalar(_ACCEPTED, {"tenant": who.tenant, "job_id": job_id}) is None:
            raise JobNotFound(NO_JOB)
        return
    owner = _owner(sql, who.tenant, job_id)
    if owner is None:
        raise missing(sql, who.tenant, job_id)
    if owner != who.key_id or not who.may(Right.AUDIT_OWN):
        raise Forbidden("Only the key that sent a film, an admin's or an auditor's may read its audit trail.")


def _owner(sql: Sql, tenant: str, job_id: str) -> str | None:
    owner: str | None = sql.scalar(select(Job.owner).where(Job.id == job_id, Job.tenant == tenant))
    return owner


_OF_JOB = (AuditEvent.subject == bindparam("job_id")) & (AuditEvent.stream == bindparam("tenant"))

_ACCEPTED = select(AuditEvent.seq).where(_OF_JOB, AuditEvent.action == "accepted")
"""The job's first event: not every subject is a job, and a deleted job has no row."""

_UNINDEXED_SEQ = AuditEvent.seq + 0
"""The number as an expression, so that no database scans the whole chain in order to save sorting a few rows."""

_EVENTS = (
    select(
        AuditEvent.seq, AuditEvent.at, AuditEvent.actor, AuditEvent.action, AuditEvent.body, AuditEvent.prev_hash,
        AuditEvent.hash,
    )
    .where(_OF_JOB, bindparam("after") < _UNINDEXED_SEQ)
    .order_by(_UNINDEXED_SEQ)
    .limit(bindparam("most"))
)  # fmt: skip
