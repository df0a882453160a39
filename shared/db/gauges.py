"""Gauges for scaling, over all tenants: how many films wait and for how long, and which workers are alive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.db import explanation_queries, queue_queries, tables, webhook_queries, worker_queries
from shared.domain import EXPLAIN_QUEUE, DeliveryState, ExplanationState, JobState, Priority, made_at


@dataclass(frozen=True, slots=True)
class Backlog:
    """The number of waiting films, and the seconds for which the oldest has waited; 0 where none waits."""

    films: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class Gauges:
    """The service as its database shows it now.

    Attributes:
        waiting: films of each priority that wait for a worker.
        running: films that a worker has.
        finished_per_s: the rate of claimed films that ended, over the last minute.
        ended_per_s: the rate of jobs by end state over the last minute; stored answers count.
        failed_per_s: the rate of failed jobs by error code.
        queue_workers: live workers of each queue.
        workers, explainers: live workers that take films, and those that explain; one may do both.
        explanations: queued explanations.
        pending_deliveries, failed_deliveries: webhook deliveries still to be tried, and failed ones not yet deleted.
    """

    waiting: Mapping[Priority, Backlog]
    running: int
    finished_per_s: float
    ended_per_s: Mapping[JobState, float]
    failed_per_s: Mapping[str, float]
    queue_workers: Mapping[str, int]
    workers: int
    explainers: int
    explanations: int
    pending_deliveries: int
    failed_deliveries: int


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker by its last heartbeat; `model` is name and version. `is_alive`: it polled lately."""

    name: str
    queues: tuple[str, ...]
    device: str
    model: str
    golden: str
    started_at: datetime
    polled_at: datetime
    is_alive: bool


def list_workers(session: Session, now: datetime) -> list[WorkerSeen]:
    """Return all workers that have a heartbeat, live ones first."""
    rows = session.execute(
        select(tables.WorkerHeartbeat, tables.Model.name, tables.Model.version).join(
            tables.Model, tables.Model.weights_sha256 == tables.WorkerHeartbeat.model_sha256
        )
    )
    since = worker_queries.alive_since(now)
    workers = [
        WorkerSeen(
            row.worker, tuple(row.queues.split(",")), row.device, f"{name} {version}", row.golden, row.started_at,
            row.polled_at, row.polled_at > since,
        )
        for row, name, version in rows
    ]  # fmt: skip
    return sorted(workers, key=lambda worker: (not worker.is_alive, worker.name))


def read_gauges(session: Session, now: datetime) -> Gauges:
    """Return all gauges; each statement reads queued, running or lately ended rows through an index."""
    ended = queue_queries.ended_lately(session, now)
    serving = worker_queries.live_queues(session, now)
    return Gauges(
        waiting={priority: _waiting(session, priority, now) for priority in Priority},
        running=_running(session),
        finished_per_s=queue_queries.finish_rate(session, now),
        ended_per_s={end: _per_s(n for state, _, n in ended if state == end) for end in JobState if end.is_terminal},
        failed_per_s={code: _per_s([n]) for state, code, n in ended if state == JobState.FAILED and code},
        queue_workers={queue: serving.get(queue, 0) for queue in (*Priority, EXPLAIN_QUEUE)},
        workers=worker_queries.count_live_workers(session, now),
        explainers=explanation_queries.count_live_explainers(session, now),
        explanations=_explanations(session),
        pending_deliveries=webhook_queries.count_deliveries(session, DeliveryState.PENDING),
        failed_deliveries=webhook_queries.count_deliveries(session, DeliveryState.FAILED),
    )


def _per_s(counts: Iterable[int]) -> float:
    return sum(counts) / queue_queries.RATE_WINDOW_S


def _waiting(session: Session, priority: Priority, now: datetime) -> Backlog:
    """Return the backlog of one priority; a job id begins with its time, so the lowest id is the oldest film."""
    queued = (tables.Job.state == JobState.QUEUED) & (tables.Job.priority == priority.rank) & tables.USES_DUE_INDEX
    films, first = session.execute(select(func.count(), func.min(tables.Job.id)).where(queued)).one()
    return Backlog(films, max(0.0, (now - made_at(first)).total_seconds()) if first else 0.0)


def _running(session: Session) -> int:
    """Return the number of running films, counted through the index on leases."""
    running = select(func.count()).where(tables.Job.state == JobState.RUNNING, tables.Job.lease_until.is_not(None))
    return session.scalar(running) or 0


def _explanations(session: Session) -> int:
    queued = tables.Explanation.state == ExplanationState.QUEUED
    return session.scalar(select(func.count()).select_from(tables.Explanation).where(queued)) or 0
