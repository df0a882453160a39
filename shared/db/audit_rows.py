"""Do jobs and results say what the audit says of them? Who changes a row and leaves the chain alone is found here.

The chain shows that its events are as they were written (`audit.verify`); this, that the tables agree with them: a
job's digests and state, its result's columns and saliency map, and that no job is gone that nobody deleted.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.tables import AuditEvent, DeletedJob, Job, Result
from shared.domain import STATE_AFTER

BATCH: Final = 500
"""Jobs compared at a time."""

Facts = Mapping[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that does not say what the audit says."""

    job_id: str
    problem: str


@dataclass(slots=True)
class _Told:
    """What the audit says of one job: facts by action, the last of each, and the state that it was left in."""

    facts: dict[str, Facts] = field(default_factory=dict)
    state: str | None = None


def compare(session: Session) -> tuple[int, Difference | None]:
    """Hold all jobs and their results against the audit.

    Returns:
        How many jobs agree, and the first that does not, if any.
    """
    agreed, after = 0, ""
    while jobs := session.scalars(select(Job).where(Job.id > after).order_by(Job.id).limit(BATCH)).all():
        ids = [job.id for job in jobs]
        told = _read(session, ids)
        results = {row.job_id: row for row in session.scalars(select(Result).where(Result.job_id.in_(ids)))}
        for job in jobs:
            problem = _problem(job, results.get(job.id), told[job.id])
            if problem:
                return agreed, Difference(job.id, problem)
            agreed += 1
        after = ids[-1]
        session.expunge_all()
    lost = session.scalar(_LOST)
    return agreed, Difference(
        lost, "it was accepted, and has neither a row nor a note of its deletion"
    ) if lost else None


_LOST = (
    select(AuditEvent.subject)
    .where(AuditEvent.action == "accepted")
    .where(~select(Job.id).where(Job.id == AuditEvent.subject).exists())
    .where(~select(DeletedJob.id).where(DeletedJob.id == AuditEvent.subject).exists())
    .limit(1)
)


def _read(session: Session, job_ids: Sequence[str]) -> dict[str, _Told]:
    told: dict[str, _Told] = defaultdict(_Told)
    rows = session.execute(
        select(AuditEvent.subject, AuditEvent.action, AuditEvent.body)
        .where(AuditEvent.subject.in_(job_ids))
        .order_by(AuditEvent.stream, AuditEvent.seq)
    )
    for subject, action, body in rows:
        told[subject].facts[action] = json.loads(body)["facts"]
        if action in STATE_AFTER:
            told[subject].state = STATE_AFTER[action]
    return told


def _problem(job: Job, result: Result | None, told: _Told) -> str | None:
    if told.state is None:
        return "the audit does not know it"
    if job.state != told.state:
        return f"it is {job.state}, the audit left it {told.state}"
    accepted, answered = told.facts.get("accepted", {}), told.facts.get("succeeded")
    if (result is None) != (answered is None):
        return "it has no result, the audit has one" if result is None else "it has a result, the audit has none"
    return _differs(job, accepted) or (_differs(result, answered or {}) or _map_differs(result) if result else None)


def _differs(row: Job | Result, facts: Facts) -> str | None:
    """The first of the facts that is a column of the row and another there."""
    for name in sorted(set(facts) & set(row.__table__.columns.keys()) - {"priority", "attempt"}):
        if getattr(row, name) != facts[name]:
            return f"its {name} is {getattr(row, name)!r}, the audit says {facts[name]!r}"
    return None


def _map_differs(result: Result) -> str | None:
    found = hashlib.sha256(result.saliency).hexdigest()
    return None if found == result.saliency_sha256 else "its saliency map is not the one that was stored"
