"""Deletion of jobs: row, result, explanations and reviews; the audit trail stays, and a row of `deleted_jobs`.

The caller removes the film after the commit. Where its process dies in between, the purge of orphans removes the film,
which then has no row.
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
    """A deleted job, its tenant, and the blob of its film, which the caller is to remove."""

    id: str
    tenant: str
    blob_ref: str


def may_delete(sql: Sql, who: Principal, job_id: str) -> bool:
    """Return whether this key may delete a job of its tenant: an admin's key any, another one those that it sent."""
    if who.may(Right.DELETE_ANY):
        return True
    sent_by = sql.scalar(select(Job.owner).where(Job.id == job_id, Job.tenant == who.tenant))
    return who.may(Right.DELETE_OWN) and sent_by == who.key_id


def known_deleted(sql: Sql, job_ids: Sequence[str]) -> set[str]:
    """Return those of these ids that are deleted jobs."""
    return set(sql.scalars(select(DeletedJob.id).where(DeletedJob.id.in_(job_ids))))


def delete_job(changes: JobChanges, who: Principal, job_id: str) -> Deleted:
    """Delete one job; one that has not ended is cancelled first.

    Raises:
        JobNotFound: unknown, of another tenant, or deleted (`JobDeleted`).
        Forbidden: this key may not.
    """
    is_job = (Job.id == job_id) & (Job.tenant == who.tenant)
    row = changes.sql.execute(select(Job.state, Job.blob_ref).where(is_job).with_for_update()).first()
    if row is None:
        raise missing(changes.sql, who.tenant, job_id)
    if not may_delete(changes.sql, who, job_id):
        raise Forbidden("Only the key that sent a film, or an admin's, may delete it.")
    actor = f"key:{who.key_id}"
    if not JobState(row.state).is_terminal:
        changes.cancel(who.tenant, job_id, actor)
    deleted = Deleted(job_id, who.tenant, row.blob_ref)
    _delete(changes, [deleted], actor, "asked for")
    return deleted


def delete_ended_before(changes: JobChanges, moment: datetime, limit: int) -> list[Deleted]:
    """Delete up to `limit` jobs that ended before `moment`, of any tenant, the oldest first."""
    rows = changes.sql.execute(
        select(Job.id, Job.tenant, Job.blob_ref)
        .where(Job.finished_at < moment)
        .order_by(Job.finished_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    ended = [Deleted(*row) for row in rows]
    if ended:
        _delete(changes, ended, "retention", "kept for its time")
    return ended


def _delete(changes: JobChanges, jobs: Sequence[Deleted], actor: str, why: str) -> None:
    """Delete the rows, with the results locked first, so that no explanation or review of them is added meanwhile."""
    sql, ids = changes.sql, [job.id for job in jobs]
    sql.execute(select(Result.job_id).where(Result.job_id.in_(ids)).with_for_update())
    for column in (Explanation.job_id, Review.job_id, Result.job_id, Job.id):
        sql.execute(delete(column.class_).where(column.in_(ids)))
    rows = [{"id": job.id, "tenant": job.tenant, "deleted_at": changes.now} for job in jobs]
    sql.execute(insert(table_of(DeletedJob)), rows)
    for job in jobs:
        changes.record(job.tenant, actor, DELETED, job.id, why=why)
