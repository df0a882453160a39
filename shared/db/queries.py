"""The read side of jobs: one, a page or a count of them, as wire models or rows. Changes nothing.

Beside it `queue_queries` reads what waits, over all tenants, and `worker_queries` who works on it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, ScalarSelect, Select, bindparam, func, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from shared import wire
from shared.db import batches
from shared.db.engine import Sql
from shared.db.job_rows import JobRow, to_wire
from shared.db.review_queries import UNREVIEWED
from shared.db.tables import USES_DUE_INDEX, AuditEvent, DeletedJob, Job, Model, Result, Tenant, UtcDateTime
from shared.domain import JobState, first_id_at
from shared.errors import JobDeleted, JobNotFound

NO_JOB: Final = "There is no job with this id."

MAX_POSITION: Final = 1000
"""Queue positions are not counted beyond this: the number would cost more than it tells."""

MOST_COUNTED: Final = 10_000
"""Jobs of one state are not counted beyond this: each open worklist asks again and again."""

ID_AHEAD: Final = timedelta(hours=1)
"""Allowed gap between a job id's timestamp and created_at; widens the id range that bounds the index scan."""


def get_job(sql: Sql, tenant: str, job_id: str) -> wire.Job:
    """Return one job with its result.

    Raises:
        JobNotFound: unknown, of another tenant, or deleted (`JobDeleted`).
    """
    row = sql.execute(_ONE_JOB, {"tenant": tenant, "job_id": job_id}).first()
    if row is None:
        raise missing(sql, tenant, job_id)
    return to_wire(row, _position(sql, row) if row.state == JobState.QUEUED else None)


def get_jobs(sql: Sql, job_ids: Collection[str]) -> dict[str, wire.Job]:
    """Return ended jobs by id, each with its result. The caller has checked that they are of its tenant."""
    return {row.id: to_wire(row, None) for row in sql.execute(_SOME_JOBS, {"job_ids": list(job_ids)})}


def list_jobs(sql: Sql, tenant: str, query: wire.ListQuery) -> wire.JobList:
    """Return one page of a tenant's jobs, newest first; the order is stable since ids sort by their time."""
    statement = _JOBS.where(Job.tenant == tenant)
    order: InstrumentedAttribute[str] = Job.id
    if query.batch:
        statement = statement.where(*batches.passing(query))
    elif query.status or query.reviewed:
        statement = statement.where(Job.state == (query.status or JobState.SUCCEEDED))
    if query.reviewed:
        statement = statement.where(*UNREVIEWED)
    if query.verdict and not query.batch:  # scan the results by verdict, not the jobs
        order = Result.job_id
        statement = statement.where(Result.tenant == tenant, Result.verdict == query.verdict)
    if query.since:
        statement = statement.where(order >= first_id_at(query.since - ID_AHEAD), Job.created_at >= query.since)
    if query.until:
        statement = statement.where(order < first_id_at(query.until + ID_AHEAD), Job.created_at < query.until)
    if query.cursor:
        statement = statement.where(order < query.cursor)
    rows = sql.execute(statement.order_by(order.desc()).limit(query.limit + 1)).all()
    page = [to_wire(row, None) for row in rows[: query.limit]]
    return wire.JobList(jobs=page, next_cursor=page[-1].id if len(rows) > query.limit else None)


def find_by_idempotency_key(sql: Sql, tenant: str, key: str) -> tuple[str, str, str | None] | None:
    """Return (job id, input SHA-256, batch id) of the job first sent under `key`, if any."""
    row = sql.execute(_SENT_UNDER, {"tenant": tenant, "key": key}).first()
    return (row.id, row.input_sha256, row.batch_id) if row else None


def get_blob_ref(session: Session, tenant: str, job_id: str) -> str:
    """Return the reference of the job's stored film.

    Raises:
        JobNotFound: unknown, of another tenant, or deleted (`JobDeleted`).
    """
    ref = session.scalar(select(Job.blob_ref).where(Job.id == job_id, Job.tenant == tenant))
    if ref is None:
        raise missing(session, tenant, job_id)
    return ref


def missing(sql: Sql, tenant: str, job_id: str) -> JobNotFound:
    """Return the error to raise where a tenant has no job of this id: `JobDeleted` where it had one."""
    deleted_at = sql.scalar(select(DeletedJob.deleted_at).where(DeletedJob.id == job_id, DeletedJob.tenant == tenant))
    if deleted_at is None:
        return JobNotFound(NO_JOB)
    return JobDeleted(f"Film, result and heatmaps of this job were deleted on {deleted_at:%d %B %Y}.")


def count_by_state(session: Session, tenant: str) -> dict[JobState, int]:
    """Return the number of a tenant's jobs in every state, each counted up to `MOST_COUNTED` + 1."""
    counts = session.execute(_COUNTS, {"tenant": tenant, "most": MOST_COUNTED + 1}).one()
    return dict(zip(JobState, counts, strict=True))


def known_jobs(session: Session, job_ids: list[str], tenant: str | None = None) -> set[str]:
    """Return those of these ids that have a row, of any tenant or of the one named."""
    known = select(Job.id).where(Job.id.in_(job_ids))
    return set(session.scalars(known if tenant is None else known.where(Job.tenant == tenant)))


def get_database_created_at(sql: Sql) -> datetime:
    """Return the time at which this database was made, that of its first tenant: no film of its jobs is older."""
    return sql.execute(select(func.min(Tenant.created_at))).scalar_one()


def _position(sql: Sql, job: JobRow) -> int:
    """Return the number of films that are claimed before this one, counted up to `MAX_POSITION`."""
    ahead = sql.scalar(_AHEAD, {"priority": job.priority, "not_before": job.not_before, "job_id": job.id}) or 0
    return min(ahead, MAX_POSITION)


def _count_of_state(state: JobState) -> ScalarSelect[int]:
    is_counted = (Job.tenant == bindparam("tenant")) & (Job.state == state)
    newest = select(Job.id).where(is_counted).order_by(Job.id.desc())  # ordered as the index: PostgreSQL would scan
    some = newest.limit(bindparam("most")).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


def _count_ahead(*which: ColumnElement[bool]) -> ScalarSelect[int]:
    """Count films in one range of `ix_jobs_due`, up to `MAX_POSITION`."""
    queued = select(Job.id).where(Job.state == JobState.QUEUED, USES_DUE_INDEX, *which)
    return select(func.count()).select_from(queued.limit(MAX_POSITION).subquery()).scalar_subquery()


# Statements with bound parameters, built once: building one takes as long as executing it.

_JOBS: Select[*tuple[Any, ...]] = (
    select(
        Job.id, Job.state, Job.priority, Job.not_before, Job.attempt, Job.created_at, Job.started_at, Job.finished_at,
        Job.expires_at, Job.input_sha256, Job.pixels_sha256, Job.kind, Job.width_px, Job.height_px, Job.bit_depth,
        Job.error_code, Job.error_detail, Job.batch_id,
        Result.verdict, Result.probabilities, Result.other_probability, Result.prediction_set, Result.reasons,
        Result.preprocessing, Result.saliency_method, Result.saliency_sha256, Result.border_share,
        Result.is_degenerate, Result.device, Result.code_version,
        Model.name, Model.version, Model.weights_sha256,
    )
    .select_from(Job)
    .outerjoin(Result, Result.job_id == Job.id)
    .outerjoin(Model, Model.weights_sha256 == Result.model_sha256)
)  # fmt: skip
"""A job with its result and the model that gave it: the columns that are shown, and no column of 100 kB."""

_RECORDED = aliased(AuditEvent)
_WITH_RECEIPTS = _JOBS.add_columns(_RECORDED.seq.label("receipt_seq"), _RECORDED.hash.label("receipt_hash")).outerjoin(
    _RECORDED,
    (_RECORDED.subject == Result.job_id) & (_RECORDED.action == "succeeded") & (_RECORDED.stream == Job.tenant),
)
"""The receipt is joined from the chain, by the index on its subjects: a column of the result could be written only
while the chain's head is locked. Not for lists, where each row would cost a look into the chain."""

_ONE_JOB = _WITH_RECEIPTS.where(Job.tenant == bindparam("tenant"), Job.id == bindparam("job_id"))

_SOME_JOBS = _WITH_RECEIPTS.where(Job.id.in_(bindparam("job_ids", expanding=True)))

_SENT_UNDER = select(Job.id, Job.input_sha256, Job.batch_id).where(
    Job.tenant == bindparam("tenant"), Job.idempotency_key == bindparam("key")
)

_COUNTS = select(*map(_count_of_state, JobState))

_AHEAD = select(
    _count_ahead(Job.priority < bindparam("priority"))
    + _count_ahead(
        Job.priority == bindparam("priority"),
        tuple_(Job.not_before, Job.id) < tuple_(bindparam("not_before", type_=UtcDateTime), bindparam("job_id")),
    )
)
"""Two ranges of the index: one condition with OR would read all that is queued."""
