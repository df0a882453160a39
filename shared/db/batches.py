"""Batches: films that are sent together. A batch's row, and the counts of its jobs, which `jobs` alone changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, bindparam, func, insert, select
from sqlalchemy.orm import aliased

from shared import wire
from shared.db.engine import Sql
from shared.db.tables import Batch, Job, Result, table_of
from shared.domain import JobState, Verdict
from shared.errors import BatchNotFound

NO_BATCH: Final = "There is no batch with this id."


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch to be inserted."""

    id: str
    tenant: str
    owner: str
    idempotency_key: str | None


def insert_batch(sql: Sql, new: NewBatch, now: datetime) -> None:
    """Insert a batch; of two with the same key the later insert violates the table's unique constraint."""
    values = {"id": new.id, "tenant": new.tenant, "owner": new.owner, "idempotency_key": new.idempotency_key}
    sql.execute(insert(table_of(Batch)), [values | {"created_at": now}])


def find_by_idempotency_key(sql: Sql, tenant: str, key: str) -> str | None:
    """Return the id of the batch that was first made under `key`, if any."""
    return sql.scalar(select(Batch.id).where(Batch.tenant == tenant, Batch.idempotency_key == key))


def get_created_at(sql: Sql, tenant: str, batch_id: str) -> datetime:
    """Return the time at which this batch of the tenant was made.

    Raises:
        BatchNotFound: unknown, or of another tenant.
    """
    created_at = sql.scalar(_CREATED_AT, {"tenant": tenant, "batch_id": batch_id})
    if created_at is None:
        raise BatchNotFound(NO_BATCH)
    return created_at


def get_batch(sql: Sql, tenant: str, batch_id: str) -> wire.Batch:
    """Return a batch with its jobs counted; 10,000 of them take 10 to 25 ms (DECISIONS 58).

    Raises:
        BatchNotFound: unknown, or of another tenant.
    """
    created_at = get_created_at(sql, tenant, batch_id)
    rows = sql.execute(_COUNTS, {"tenant": tenant, "batch_id": batch_id}).all()
    counts, verdicts = dict.fromkeys(JobState, 0), dict.fromkeys(Verdict, 0)
    for state, verdict, number in rows:
        counts[JobState(state)] += number
        if verdict is not None:
            verdicts[Verdict(verdict)] += number
    return wire.Batch(
        id=batch_id,
        done=not any(number for state, number in counts.items() if not state.is_terminal),
        total=sum(counts.values()),
        counts=counts,
        verdicts=verdicts,
        created_at=created_at,
        links=_links(batch_id),
    )


def passing(query: wire.ListQuery) -> list[ColumnElement[bool]]:
    """Return the conditions of a list within a batch, by status and verdict; only the batch's jobs are scanned."""
    rules = [Job.batch_id == query.batch]
    if query.status:
        rules.append(in_state(query.status))
    if query.verdict:
        rules.append(_has_verdict(query.verdict))
    return rules


def in_state(*states: JobState) -> ColumnElement[bool]:
    """Return the condition that a job is in one of these states, written so that no index on state is used."""
    return _STATE.in_(states)


def _has_verdict(verdict: Verdict) -> ColumnElement[bool]:
    """Look the verdict up job by job: in a join PostgreSQL would scan all newer results."""
    result = aliased(Result)
    return select(result.verdict).where(result.job_id == Job.id).correlate(Job).scalar_subquery() == verdict


def _links(batch_id: str) -> wire.BatchLinks:
    own, jobs = f"/api/v1/batches/{batch_id}", f"batch={batch_id}"
    return wire.BatchLinks(
        self=own,
        jobs=f"/api/v1/jobs?{jobs}",
        table=f"/api/v1/jobs.csv?{jobs}",
        page=f"/?{jobs}",
        submit=f"/api/v1/jobs?{jobs}",
        cancel=f"{own}/cancel",
    )


_STATE = func.coalesce(Job.state, "")
"""A job's state, written so that no index on state is used: it holds all films of a tenant, `ix_jobs_batch` only those
of the batch."""

_CREATED_AT = select(Batch.created_at).where(Batch.id == bindparam("batch_id"), Batch.tenant == bindparam("tenant"))

_COUNTS = (
    select(_STATE, Result.verdict, func.count())
    .select_from(Job)
    .outerjoin(Result, Result.job_id == Job.id)
    .where(Job.tenant == bindparam("tenant"), Job.batch_id == bindparam("batch_id"))
    .group_by(_STATE, Result.verdict)
)
