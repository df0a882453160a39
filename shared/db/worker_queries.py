"""The read side of workers: which are alive, by their heartbeats, and what they take. Changes nothing."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BindParameter, ColumnElement, func, select
from sqlalchemy.orm import Session

from shared.db.tables import WorkerHeartbeat
from shared.domain import EXPLAIN_QUEUE, Priority

WORKER_ALIVE_S: Final = 15.0
"""A worker that has not polled the database for this long counts as gone or deaf."""

FORGET_AFTER: Final = timedelta(hours=1)
"""The heartbeat of a worker that has been silent for this long is deleted."""


def alive_since(now: datetime) -> datetime:
    """Return the time since which a worker has to have polled to count as alive."""
    return now - timedelta(seconds=WORKER_ALIVE_S)


def takes_films(since: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    """Return the condition on a heartbeat that its worker has polled since then and takes films."""
    return (WorkerHeartbeat.polled_at > since) & (WorkerHeartbeat.queues != EXPLAIN_QUEUE)


def live_queues(session: Session, now: datetime) -> dict[str, int]:
    """Return the number of live workers of each queue; queues without one are left out."""
    alive = WorkerHeartbeat.polled_at > alive_since(now)
    rows = session.scalars(select(WorkerHeartbeat.queues).where(alive))
    return Counter(queue for queues in rows for queue in queues.split(","))


def live_priorities(session: Session, now: datetime) -> list[Priority]:
    """Return the priorities of films that a live worker takes, the most urgent first."""
    served = live_queues(session, now)
    return [priority for priority in Priority if priority.value in served]


def count_live_workers(session: Session, now: datetime) -> int:
    """Return the number of live workers that take films; those that only explain do not count."""
    alive = takes_films(alive_since(now))
    return session.scalar(select(func.count()).select_from(WorkerHeartbeat).where(alive)) or 0


def golden_states(session: Session, now: datetime) -> frozenset[str]:
    """Return the golden films' outcomes at the start of the live workers that take films: 'passed' and 'absent'."""
    alive = takes_films(alive_since(now))
    return frozenset(session.scalars(select(WorkerHeartbeat.golden).where(alive).distinct()))
