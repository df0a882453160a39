"""The read side: jobs, workers and counts as wire models or rows. Changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import BindParameter, ColumnElement, ScalarSelect, Select, bindparam, func, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from shared import wire
from shared.db import batches, tables
from shared.db.engine import Sql
from shared.db.job_rows import JobRow, to_wire
from shared.db.review_queries import UNREVIEWED
from shared.domain import EXPLAIN_QUEUE, JobState, Priority, first_id_at
from shared.errors import JobDeleted, JobNotFound

NO_JOB: Final = "There is no job with this id."

MAX_POSITION = 1000
"""Beyond this a queue position is not counted: the number would cost more than it tells."""

MOST_COUNTED = 10_000
"""Jobs of one state beyond this are not counted: each open worklist asks again and again."""

WORKER_ALIVE_S = 15.0
"""A worker that has not polled the database for so long counts as gone or deaf."""

RATE_WINDOW_S = 60.0

ID_AHEAD = timedelta(hours=1)
"""By so much a job's id may be made before its row, or by another clock; the ids' index bounds what is gone through."""


def get_job(sql: Sql, tenant: str, job_id: str) -> wire.Job:
    """One job with its result.

    Raises:
        JobNotFound: unknown, of another tenant, or deleted (`JobDeleted`).
    """
    row = sql.execute(_ONE_JOB, {"tenant": tenant, "job_id": job_id}).first()
    if row is None:
        raise missing(sql, tenant, job_id)
    return to_wire(row, _position(sql, row) if row.state == JobState.QUEUED else None)


def get_jobs(sql: Sql, job_ids: Collection[str]) -> dict[str, wire.Job]:
    """Jobs that have ended, by id, each with its result; whose they are is for the caller to know."""
    return {row.id: to_wire(row, None) for row in sql.execute(_SOME_JOBS, {"job_ids": list(job_ids)})}


def list_jobs(sql: Sql, tenant: str, query: wire.ListQuery) -> wire.JobList:
    """One page, newest first; the order is stable since ids sort by the time they were made."""
    statement = _JOBS.where(tables.Job.tenant == tenant)
    order: InstrumentedAttribute[str] = tables.Job.id
    if query.batch:
        statement = statement.where(*batches.passing(query))
    elif query.status or query.reviewed:
        statement = statement.where(tables.Job.state == (query.status or JobState.SUCCEEDED))
    if query.reviewed:
        statement = statement.where(*UNREVIEWED)
    if query.verdict and not query.batch:  # then it is the results that are gone through
        order = tables.Result.job_id
        statement = statement.where(tables.Result.tenant == tenant, tables.Result.verdict == query.verdict)
    if query.since:
        statement = statement.where(order >= first_id_at(query.since - ID_AHEAD), tables.Job.created_at >= query.since)
    if query.until:
        statement = statement.where(order < first_id_at(query.until + ID_AHEAD), tables.Job.created_at < query.until)
    if query.cursor:
        statement = statement.where(order < query.cursor)
    rows = sql.execute(statement.order_by(order.desc()).limit(query.limit + 1)).all()
    page = [to_wire(row, None) for row in rows[: query.limit]]
    return wire.JobList(jobs=page, next_cursor=page[-1].id if len(rows) > query.limit else None)


def find_by_idempotency_key(sql: Sql, tenant: str, key: str) -> tuple[str, str, str | None] | None:
    """(job id, input SHA-256, batch id) of the job first sent under `key`, if any."""
    row = sql.execute(_SENT_UNDER, {"tenant": tenant, "key": key}).first()
    return (row.id, row.input_sha256, row.batch_id) if row else None


_SENT_UNDER = select(tables.Job.id, tables.Job.input_sha256, tables.Job.batch_id).where(
    tables.Job.tenant == bindparam("tenant"), tables.Job.idempotency_key == bindparam("key")
)


def get_blob_ref(session: Session, tenant: str, job_id: str) -> str:
    """Where the job's film is stored.

    Raises:
        JobNotFound: unknown, of another tenant, or deleted (`JobDeleted`).
    """
    ref = session.scalar(select(tables.Job.blob_ref).where(tables.Job.id == job_id, tables.Job.tenant == tenant))
    if ref is None:
        raise missing(session, tenant, job_id)
    return ref


def missing(sql: Sql, tenant: str, job_id: str) -> JobNotFound:
    """What to raise where a tenant has no job of this id: `JobDeleted` where it had one."""
    deleted_at = sql.scalar(
        select(tables.DeletedJob.deleted_at).where(tables.DeletedJob.id == job_id, tables.DeletedJob.tenant == tenant)
    )
    if deleted_at is None:
        return JobNotFound(NO_JOB)
    return JobDeleted(f"Film, result and heatmaps of this job were deleted on {deleted_at:%d %B %Y}.")


def count_by_state(session: Session, tenant: str) -> dict[JobState, int]:
    """How many jobs are in each state, counted up to `MOST_COUNTED` + 1; every state is named."""
    counts = session.execute(_COUNTS, {"tenant": tenant, "most": MOST_COUNTED + 1}).one()
    return dict(zip(JobState, counts, strict=True))


def _counted(state: JobState) -> ScalarSelect[int]:
    of_state = (tables.Job.tenant == bindparam("tenant")) & (tables.Job.state == state)
    newest = select(tables.Job.id).where(of_state).order_by(tables.Job.id.desc())  # by its index: PostgreSQL would scan
    some = newest.limit(bindparam("most")).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


_COUNTS = select(*map(_counted, JobState))


def count_queued(session: Session) -> dict[str, int]:
    """How many films of each tenant wait."""
    theirs = (tables.Job.tenant == tables.Tenant.id) & (tables.Job.state == JobState.QUEUED) & tables.OF_A_TENANT
    waiting = select(func.count()).select_from(tables.Job).where(theirs).scalar_subquery()  # by index, grouped not
    return {tenant: n for tenant, n in session.execute(select(tables.Tenant.id, waiting)).all() if n}


def finish_rate(session: Session, now: datetime) -> float:
    """Jobs that workers took and that ended, a second, over the last `RATE_WINDOW_S`; none cancelled before."""
    since = tables.Job.finished_at > now - timedelta(seconds=RATE_WINDOW_S)
    found = session.scalar(select(func.count()).select_from(tables.Job).where(since, tables.Job.attempt > 0))
    return (found or 0) / RATE_WINDOW_S


def ended_lately(session: Session, now: datetime) -> list[tuple[str, str | None, int]]:
    """(state, error code, how many) of the jobs that have ended over the last `RATE_WINDOW_S`."""
    since = tables.Job.finished_at > now - timedelta(seconds=RATE_WINDOW_S)
    kind = (tables.Job.state, tables.Job.error_code)
    return [
        (state, code, n) for state, code, n in session.execute(select(*kind, func.count()).where(since).group_by(*kind))
    ]


def live_queues(session: Session, now: datetime) -> dict[str, int]:
    """How many living workers take from each queue that any does."""
    alive = tables.WorkerHeartbeat.polled_at > alive_since(now)
    found = session.scalars(select(tables.WorkerHeartbeat.queues).where(alive))
    return Counter(queue for queues in found for queue in queues.split(","))


def live_classes(session: Session, now: datetime) -> list[Priority]:
    """The classes of films that a living worker takes."""
    served = live_queues(session, now)
    return [priority for priority in Priority if priority.value in served]


def count_live_workers(session: Session, now: datetime) -> int:
    """Workers that polled the database within `WORKER_ALIVE_S`; those that only explain do not count."""
    alive = takes_films(alive_since(now))
    return session.scalar(select(func.count()).select_from(tables.WorkerHeartbeat).where(alive)) or 0


def alive_since(now: datetime) -> datetime:
    """A worker that has not polled since then counts as gone or deaf."""
    return now - timedelta(seconds=WORKER_ALIVE_S)


def takes_films(since: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    """True of a worker that has polled since then and takes films."""
    return (tables.WorkerHeartbeat.polled_at > since) & (tables.WorkerHeartbeat.queues != EXPLAIN_QUEUE)


def golden_states(session: Session, now: datetime) -> frozenset[str]:
    """What the golden films said at the start of the workers that take films: 'passed', 'absent', both or nothing."""
    alive = takes_films(alive_since(now))
    return frozenset(session.scalars(select(tables.WorkerHeartbeat.golden).where(alive).distinct()))


def has_due(sql: Sql, now: datetime, priorities: tuple[Priority, ...]) -> bool:
    """True where a film of these classes waits: a read, so that idle workers never take a write lock."""
    ranks = [priority.rank for priority in priorities]
    return sql.scalar(_DUE_JOB, {"now": now, "ranks": ranks}) is not None


_DUE_JOB = (
    select(tables.Job.id)
    .where(tables.Job.state == JobState.QUEUED, tables.Job.not_before <= bindparam("now"), tables.OF_ALL_TENANTS)
    .where(tables.Job.priority.in_(bindparam("ranks", expanding=True)))
    .limit(1)
)


def is_queued(sql: Sql, job_id: str) -> bool:
    """True where the ring's film still waits, so that a ring behind a full batch costs one read."""
    return sql.scalar(_QUEUED_JOB, {"job_id": job_id}) is not None


_QUEUED_JOB = select(tables.Job.id).where(tables.Job.id == bindparam("job_id"), tables.Job.state == JobState.QUEUED)


def needs_sweep(session: Session, now: datetime, ring_after_s: float) -> bool:
    """True where a lease is over, a job is past its time or a due film is unrung: a read before the sweep's write."""
    is_lapsed = (tables.Job.state == JobState.RUNNING) & (tables.Job.lease_until < now)
    unrung = tables.Job.last_rung_at < now - timedelta(seconds=ring_after_s)
    silent = (tables.Job.state == JobState.QUEUED) & unrung & (tables.Job.not_before <= now)
    if _exists(session, is_lapsed) or is_overdue(session, now):  # one by one: of rules joined by OR no index is used
        return True
    return _exists(session, silent) and _exists(session, silent & _is_one_of(live_classes(session, now)))


def _exists(session: Session, rule: ColumnElement[bool]) -> bool:
    return session.scalar(select(tables.Job.id).where(rule).limit(1)) is not None


def _is_one_of(classes: Sequence[Priority]) -> ColumnElement[bool]:
    return tables.Job.priority.in_([priority.rank for priority in classes])


def is_overdue(sql: Sql, now: datetime) -> bool:
    """True where a film that waits is past its time."""
    return sql.scalar(_OVERDUE, {"now": now}) is not None


_OVERDUE = (
    select(tables.Job.id).where(tables.Job.state == JobState.QUEUED, tables.Job.expires_at <= bindparam("now")).limit(1)
)


def an_hour_before(now: datetime) -> datetime:
    """The moment before which a silent worker is forgotten."""
    return now - timedelta(hours=1)


def database_birth(sql: Sql) -> datetime:
    """When this database was made: no film of its jobs is older."""
    return sql.execute(select(func.min(tables.Tenant.created_at))).scalar_one()


def known_jobs(session: Session, job_ids: list[str], tenant: str | None = None) -> set[str]:
    """Which of these ids have a row; one of this tenant, where it is named."""
    known = select(tables.Job.id).where(tables.Job.id.in_(job_ids))
    return set(session.scalars(known if tenant is None else known.where(tables.Job.tenant == tenant)))


_JOBS: Select[*tuple[Any, ...]] = (
    select(
        tables.Job.id, tables.Job.state, tables.Job.priority, tables.Job.not_before, tables.Job.attempt,
        tables.Job.created_at, tables.Job.started_at, tables.Job.finished_at, tables.Job.expires_at,
        tables.Job.input_sha256, tables.Job.pixels_sha256, tables.Job.kind, tables.Job.width_px, tables.Job.height_px,
        tables.Job.bit_depth, tables.Job.error_code, tables.Job.error_detail, tables.Job.batch_id,
        tables.Result.verdict, tables.Result.probabilities, tables.Result.other_probability,
        tables.Result.prediction_set, tables.Result.reasons,
        tables.Result.preprocessing, tables.Result.saliency_method, tables.Result.saliency_sha256,
        tables.Result.border_share, tables.Result.is_degenerate, tables.Result.device, tables.Result.code_version,
        tables.Model.name, tables.Model.version, tables.Model.weights_sha256,
    )
    .select_from(tables.Job)
    .outerjoin(tables.Result, tables.Result.job_id == tables.Job.id)
    .outerjoin(tables.Model, tables.Model.weights_sha256 == tables.Result.model_sha256)
)  # fmt: skip
"""A job with its result and the model that gave it: what is shown of them, and no column of 100 kB."""

_RECORDED = aliased(tables.AuditEvent)
_WITH_RECEIPTS = _JOBS.add_columns(_RECORDED.seq.label("receipt_seq"), _RECORDED.hash.label("receipt_hash")).outerjoin(
    _RECORDED,
    (_RECORDED.subject == tables.Result.job_id)
    & (_RECORDED.action == "succeeded")
    & (_RECORDED.stream == tables.Job.tenant),
)
"""The chain is asked in the same statement, by the index of its subjects: a column of the result could be written only
while the chain's head is locked. Not for lists, whose rows would each ask it."""

_ONE_JOB = _WITH_RECEIPTS.where(tables.Job.tenant == bindparam("tenant"), tables.Job.id == bindparam("job_id"))
"""Put together once: that takes as long as to ask it, and each answer does."""

_SOME_JOBS = _WITH_RECEIPTS.where(tables.Job.id.in_(bindparam("job_ids", expanding=True)))


def _position(sql: Sql, job: JobRow) -> int:
    """How many films are to be claimed before it; counted up to `MAX_POSITION`."""
    ahead = sql.scalar(_AHEAD, {"priority": job.priority, "not_before": job.not_before, "job_id": job.id}) or 0
    return min(ahead, MAX_POSITION)


def _count_ahead(*which: ColumnElement[bool]) -> ScalarSelect[int]:
    """Films of a range of the index of due ones, gone through up to `MAX_POSITION`."""
    queued = select(tables.Job.id).where(tables.Job.state == JobState.QUEUED, tables.OF_ALL_TENANTS, *which)
    return select(func.count()).select_from(queued.limit(MAX_POSITION).subquery()).scalar_subquery()


_AHEAD = select(
    _count_ahead(tables.Job.priority < bindparam("priority"))
    + _count_ahead(
        tables.Job.priority == bindparam("priority"),
        tuple_(tables.Job.not_before, tables.Job.id)
        < tuple_(bindparam("not_before", type_=tables.UtcDateTime), bindparam("job_id")),
    )
)
"""Two ranges: in one, with OR, all that is queued is looked at."""
