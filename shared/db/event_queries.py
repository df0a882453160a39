"""The read side of jobs' events: the audit events that changed a state, by their numbers in the chain.

Numbers are assigned under the lock of the chain's head, so a lower one never appears after a higher one was seen: a
reader that has seen all events up to a number misses none by asking for those after it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from shared import wire
from shared.db.engine import Sql
from shared.db.queries import missing
from shared.db.tables import AuditEvent, AuditHead, Job
from shared.domain import STATE_AFTER


@dataclass(frozen=True, slots=True)
class JobEvents:
    """The events of one job so far, in order, and the number of the newest event of its tenant's chain."""

    events: Sequence[wire.JobEvent]
    newest_seq: int


def get_events(session: Session, tenant: str, job_id: str) -> JobEvents:
    """Return the events of one job.

    Raises:
        JobNotFound: unknown, or of another tenant.
    """
    newest = session.scalar(
        select(AuditHead.seq).join(Job, Job.tenant == AuditHead.stream).where(Job.id == job_id, Job.tenant == tenant)
    )
    if newest is None:
        raise missing(session, tenant, job_id)
    return JobEvents(list_events(session, [job_id]).get(job_id, []), newest)


def list_events(sql: Sql, job_ids: Collection[str]) -> Mapping[str, list[wire.JobEvent]]:
    """Return the events of each of these jobs, in one statement. The caller has checked that they are of its tenant."""
    events: dict[str, list[wire.JobEvent]] = defaultdict(list)
    rows = sql.execute(_EVENTS, {"job_ids": list(job_ids)})
    for seq, job_id, action, at in rows:
        state = STATE_AFTER[action]
        events[job_id].append(
            wire.JobEvent(
                seq=seq,
                job_id=job_id,
                event=action,
                status=state,
                done=state.is_terminal,
                at=datetime.fromisoformat(at),
            )
        )
    return events


_EVENTS = (
    select(AuditEvent.seq, AuditEvent.subject, AuditEvent.action, AuditEvent.at)
    .where(AuditEvent.subject.in_(bindparam("job_ids", expanding=True)), AuditEvent.action.in_(list(STATE_AFTER)))
    .order_by(AuditEvent.seq)
)
