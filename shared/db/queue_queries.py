"""The read side of the queue, over all tenants: what waits, what is due for a sweep, what ended lately.

Changes nothing. Workers and the sweeper ask here before they write, so that idle processes never take a write lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, bindparam, func, select
from sqlalchemy.orm import Session

from shared.db.engine import Sql
from shared.db.tables import USES_DUE_INDEX, USES_LINE_INDEX, Job, Tenant, has_state_unindexed
from shared.db.worker_queries import live_priorities
from shared.domain import JobState, Priority

RATE_WINDOW_S: Final = 60.0
"""The time over which ended jobs are counted."""

RATE_SAMPLE: Final = 20
"""Answered films, the newest, whose times tell how long one takes."""

SHORTEST_SPAN_S: Final = 0.001
"""The least time that these films count as together: clocks may stand still."""


def count_queued(session: Session) -> dict[str, int]:
    """Return the number of queued films by tenant; tenants without any are left out."""
    is_queued_here = (Job.tenant == Tenant.id) & (Job.state == JobState.QUEUED) & USES_LINE_INDEX
    queued = select(func.count()).select_from(Job).where(is_queued_here).scalar_subquery()  # by index, grouped not
    return {tenant: n for tenant, n in session.execute(select(Tenant.id, queued)).all() if n}


def has_due(sql: Sql, now: datetime, priorities: tuple[Priority, ...]) -> bool:
    """Return whether a film of these priorities is due."""
    ranks = [priority.rank for priority in priorities]
    return sql.scalar(_DUE_JOB, {"now": now, "ranks": ranks}) is not None


def is_queued(sql: Sql, job_id: str) -> bool:
    """Return whether this film is queued; a ring that comes after its film was claimed costs this read only."""
    return sql.scalar(_QUEUED_JOB, {"job_id": job_id}) is not None


def needs_sweep(session: Session, now: datetime, ring_after_s: float) -> bool:
    """Return whether a lease is over, a queued film has expired, or a due film has not been rung for `ring_after_s`.

    Films that no live worker takes need no ring.
    """
    is_lapsed = (Job.state == JobState.RUNNING) & (Job.lease_until < now)
    is_unrung = Job.last_rung_at < now - timedelta(seconds=ring_after_s)
    is_silent = (Job.state == JobState.QUEUED) & is_unrung & (Job.not_before <= now)
    # One condition a statement: joined by OR they would use no index.
    if _exists(session, is_lapsed) or has_overdue(session, now):
        return True
    return _exists(session, is_silent) and _exists(session, is_silent & _has_priority(live_priorities(session, now)))


def has_overdue(sql: Sql, now: datetime) -> bool:
    """Return whether a queued film has passed its `expires_at`."""
    return sql.scalar(_OVERDUE_JOB, {"now": now}) is not None


def finish_rate(session: Session, now: datetime) -> float:
    """Return the rate at which jobs that a worker had claimed ended over the last `RATE_WINDOW_S`, in jobs a second."""
    ended = select(func.count()).select_from(Job).where(_has_ended_lately(now), Job.attempt > 0)
    return (session.scalar(ended) or 0) / RATE_WINDOW_S


def work_rate(session: Session, now: datetime) -> float:
    """Return the rate at which workers take films, in films a second; 0 if none was answered in `RATE_WINDOW_S`.

    It is at least the finish rate, but that of a service with little to do says how few films came. A film
    that took 0.02 s shows that 50 a second are possible, even if it was the only one of the last minute.
    """
    answered = (
        select(Job.started_at, Job.finished_at)
        .where(_has_ended_lately(now), Job.attempt > 0, has_state_unindexed(JobState.SUCCEEDED))
        .order_by(Job.finished_at.desc())
        .limit(RATE_SAMPLE)
    )
    spans = [(end - start).total_seconds() for start, end in session.execute(answered) if start and end]
    if not spans:
        return finish_rate(session, now)
    return max(finish_rate(session, now), len(spans) / max(sum(spans), SHORTEST_SPAN_S))


def ended_lately(session: Session, now: datetime) -> list[tuple[str, str | None, int]]:
    """Return (state, error code, number of jobs) of the jobs that ended over the last `RATE_WINDOW_S`."""
    kind = (Job.state, Job.error_code)
    rows = session.execute(select(*kind, func.count()).where(_has_ended_lately(now)).group_by(*kind))
    return [(state, code, n) for state, code, n in rows]


def _has_ended_lately(now: datetime) -> ColumnElement[bool]:
    return Job.finished_at > now - timedelta(seconds=RATE_WINDOW_S)


def _exists(session: Session, rule: ColumnElement[bool]) -> bool:
    return session.scalar(select(Job.id).where(rule).limit(1)) is not None


def _has_priority(priorities: Sequence[Priority]) -> ColumnElement[bool]:
    return Job.priority.in_([priority.rank for priority in priorities])


# Statements with bound parameters, built once: building one takes longer than executing it.

_DUE_JOB = (
    select(Job.id)
    .where(Job.state == JobState.QUEUED, Job.not_before <= bindparam("now"), USES_DUE_INDEX)
    .where(Job.priority.in_(bindparam("ranks", expanding=True)))
    .limit(1)
)

_QUEUED_JOB = select(Job.id).where(Job.id == bindparam("job_id"), Job.state == JobState.QUEUED)

_OVERDUE_JOB = select(Job.id).where(Job.state == JobState.QUEUED, Job.expires_at <= bindparam("now")).limit(1)
