"""Deleting jobs: rows, result, maps and reviews go for good; the audit stays, and a note that there was such a job.

Whoever calls removes the film after the commit. One that stays, since its process died in between, has no row any
more, and so the sweep of orphans removes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import delete, insert, select

from shared.db.engine import Sql
from shared.db.jobs import JobChanges
from shared.db.keys import Principal
from shared.db.queries import missing
from shared.db.tables import DeletedJob, Explanation, Job, Result, Review, table_of
from shared.domain import JobState
from shared.errors import Forbidden
from shared.rights import Right

DELETED: Final = "deleted"
"""The audit action."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """A job that is gone, whose it was, and the film that is to be removed."""

    id: str
    tenant: str
    blob_ref: str


def may_delete(sql: Sql, who: Principal, job_id: str) -> bool:
    """Whether this key may delete a job of its tenant: one that it sent, or any where it is an admin's."""
    if who.may(Right.DELETE_ANY):
        return True
    sent_by = sql.scalar(select(Job.owner).where(Job.id == job_id, Job.tenant == who.tenant))
    return who.may(Right.DELETE_OWN) and sent_by == who.key_id


def known_deleted(sql: Sql, job_ids: Sequence[str]) -> set[str]:
    """Which of these ids were jobs that are deleted."""
    return set(sql.scalars(select(DeletedJob.id).where(DeletedJob.id.in_(job_ids))))


def delete_job(changes: JobChanges, who: Principal, job_id: str) -> Deleted:
    """Delete one job; one that has not ended is cancelled first.

    Raises:
        JobNotFound: unknown, of another tenant, or deleted (`JobDeleted`).
        Forbidden: this key may not.
    """
    mine = (Job.id == job_id) & (Job.tenant == who.tenant)
    row = changes.sql.execute(select(Job.state, Job.blob_ref).where(mine).with_for_update()).first()
    if row is None:
        raise missing(changes.sql, who.tenant, job_id)
    if not may_delete(changes.sql, who, job_id):
        raise Forbidden("Only the key that sent a film, or an admin's, may delete it.")
    actor = f"key:{who.key_id}"
    if not JobState(row.state).is_terminal:
        changes.cancel(who.tenant, job_id, actor)
    gone = Deleted(job_id, who.tenant, row.blob_ref)
    _delete(changes, [gone], actor, "asked for")
    return gone


def delete_ended_before(changes: JobChanges, moment: datetime, limit: int) -> list[Deleted]:
    """Delete up to `limit` jobs that ended before `moment`, of any tenant, the oldest first."""
    rows = changes.sql.execute(
        select(Job.id, Job.tenant, Job.blob_ref)
        .where(Job.finished_at < moment)
        .order_by(Job.finished_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    gone = [Deleted(*row) for row in rows]
    if gone:
        _delete(changes, gone, "retention", "kept for its time")
    return gone


def _delete(changes: JobChanges, gone: Sequence[Deleted], actor: str, why: str) -> None:
    """The result is locked first: nobody can ask for another map of it, or review it, meanwhile."""
    sql, ids = changes.sql, [job.id for job in gone]
    sql.execute(select(Result.job_id).where(Result.job_id.in_(ids)).with_for_update())
    for theirs in (Explanation.job_id, Review.job_id, Result.job_id, Job.id):
        sql.execute(delete(theirs.class_).where(theirs.in_(ids)))
    rows = [{"id": job.id, "tenant": job.tenant, "deleted_at": changes.now} for job in gone]
    sql.execute(insert(table_of(DeletedJob)), rows)
    for job in gone:
        changes.record(job.tenant, actor, DELETED, job.id, why=why)
