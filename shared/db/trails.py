"""The audit trail of one job, and who may read it. Changes nothing.

Admins and auditors read those of all jobs of their tenant, deleted ones too: that is what the trail is kept for. Who
sent a film reads its trail as long as the job is there; afterwards it is told what everybody is, that it was deleted,
since the trail says of the film what the deletion was to end.
"""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy import bindparam, select

from shared.audit_wire import AuditEvent as Told
from shared.audit_wire import AuditQuery, AuditTrail
from shared.db.engine import Sql
from shared.db.keys import Principal
from shared.db.queries import NO_JOB, missing
from shared.db.tables import AuditEvent, Job
from shared.errors import Forbidden, JobNotFound
from shared.rights import Right


def may_read(sql: Sql, who: Principal, job_id: str) -> bool:
    """Whether this key may read the trail of a job of its tenant that is there."""
    if who.may(Right.AUDIT_ANY):
        return True
    return who.may(Right.AUDIT_OWN) and _owner(sql, who.tenant, job_id) == who.key_id


def get_trail(sql: Sql, who: Principal, job_id: str, query: AuditQuery) -> AuditTrail:
    """One page of its events.

    Raises:
        JobNotFound: unknown, of another tenant, or deleted (`JobDeleted`) and the caller may not look behind that.
        Forbidden: the caller neither sent it nor reads the trails of all.
    """
    _check(sql, who, job_id)
    asked = {"tenant": who.tenant, "job_id": job_id, "after": query.cursor, "most": query.limit + 1}
    rows = sql.execute(_EVENTS, asked).all()
    events = [
        Told(
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
    is_more = len(rows) > query.limit
    return AuditTrail(job_id=job_id, tenant=who.tenant, events=events, next_cursor=events[-1].seq if is_more else None)


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
"""Not every subject is a job, and no note of a deletion is needed to know of one."""

_PLACE = AuditEvent.seq + 0
"""So that no database goes through the whole chain in its order to save the sorting of a few events."""

_EVENTS = (
    select(
        AuditEvent.seq, AuditEvent.at, AuditEvent.actor, AuditEvent.action, AuditEvent.body, AuditEvent.prev_hash,
        AuditEvent.hash,
    )
    .where(_OF_JOB, bindparam("after") < _PLACE)
    .order_by(_PLACE)
    .limit(bindparam("most"))
)  # fmt: skip
