"""Reads what the checker judges: rows, results, audit trail and chain of the database, and when each worker lived."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db import audit
from shared.db.audit_comparison import compare
from shared.db.engine import Database
from shared.db.tables import AuditEvent, Job, Result, WorkerHeartbeat
from shared.errors import DatabaseDown
from shared.imaging.preprocess import prepare, stack
from shared.manifest import ModelManifest
from tests.chaos.client import FILM_SIDE_PX
from tests.chaos.facts import AuditRow, JobRow, ResultRow
from tests.chaos.keeper import Part
from tests.chaos.plan import Order
from tests.chaos.recovery import Span
from tests.chaos.standin import probabilities
from tests.chaos.targets import host_prefix
from tests.factories import make_pixels

Value = TypeVar("Value")

ANSWER_TOLERANCE = 1e-4
PATIENCE_S = 60.0


def ask(database: Database, question: Callable[[Session], Value]) -> Value:
    """The answer of a database that may be just coming back.

    Raises:
        DatabaseDown: it does not come back within `PATIENCE_S`.
    """
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            with database.read() as session:
                return question(session)
        except DatabaseDown:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.2)


def count_open(session: Session) -> int:
    """How many jobs have not ended."""
    return len(session.scalars(select(Job.id).where(Job.state.in_(["queued", "running"]))).all())


def job_rows(session: Session) -> list[JobRow]:
    """All jobs."""
    columns = (Job.id, Job.idempotency_key, Job.state, Job.attempt, Job.max_attempts, Job.error_code)
    rows = session.execute(select(*columns))
    return [JobRow(*row) for row in rows]


def result_rows(session: Session, answers: Mapping[str, Sequence[float]]) -> list[ResultRow]:
    """All results, compared with `answers` (by key) where those are known."""
    rows = session.execute(
        select(Result.job_id, Result.attempt, Result.probabilities, Job.idempotency_key).join(
            Job, Job.id == Result.job_id
        )
    )
    return [ResultRow(row.job_id, row.attempt, _is_own(row.probabilities, answers.get(str(row[3])))) for row in rows]


def audit_rows(session: Session) -> list[AuditRow]:
    """The audit trail of all jobs."""
    return [_audit_row(event) for event in session.scalars(select(AuditEvent).order_by(AuditEvent.seq))]


def chain_break(session: Session) -> str | None:
    """Where the audit chain does not hold, or a job is not as it says, if anywhere."""
    _, found = audit.verify(session)
    if found:
        return f"{found.stream} event {found.seq}: {found.problem}"
    _, difference = compare(session)
    return f"job {difference.job_id}: {difference.problem}" if difference else None


def spans(session: Session, workers: Sequence[Part]) -> list[Span]:
    """When each worker could work: from its first beat until it was last seen alive."""
    started = dict(session.execute(select(WorkerHeartbeat.worker, WorkerHeartbeat.started_at)).tuples().all())
    seen = {host_prefix() + str(pid): last for part in workers for pid, (_, last) in part.seen()}
    return [Span(name, started[name].timestamp(), last) for name, last in seen.items() if name in started]


def write(path: Path, rows: Iterable[JobRow | ResultRow | AuditRow | Span]) -> None:
    """Leave rows for a reader, one JSON line each: the database itself ends with the trial."""
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")


def expected_answers(orders: Sequence[Order], manifest: ModelManifest) -> dict[str, list[float]]:
    """What the stand-in must say of each film, by key."""
    return {order.key: _expected(order.film, manifest) for order in orders}


def _expected(film: int, manifest: ModelManifest) -> list[float]:
    pixels = make_pixels(height_px=FILM_SIDE_PX, width_px=FILM_SIDE_PX, seed=film)
    values = prepare(pixels, manifest.preprocessing, manifest.input_shape).values
    return [float(value) for value in probabilities(stack([values]), len(manifest.labels))[0]]


def _is_own(found: Mapping[str, float], expected: Sequence[float] | None) -> bool:
    return expected is None or bool(np.allclose(list(found.values()), expected, atol=ANSWER_TOLERANCE))


def _audit_row(event: AuditEvent) -> AuditRow:
    attempt = json.loads(event.body)["facts"].get("attempt")
    at = datetime.fromisoformat(event.at).timestamp()
    return AuditRow(event.seq, at, event.actor, event.action, event.subject, attempt)
