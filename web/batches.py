"""The use cases of batches: create one, read its progress, cancel its unfinished jobs. Knows no Flask.

A batch is created empty, and its films are submitted one per request, as any film is: each is checked, decoded and
answered by itself, under the limits for one (DECISIONS 58).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shared import wire
from shared.db import batches, jobs, queue_queries
from shared.db.batches import NewBatch
from shared.db.keys import Principal
from shared.wiring import Resources
from web.jobs import end_overdue
from web.offload import read, read_row, run_sql

REST_S: Final = 0.01
"""Pause between two steps: SQLite's lock is not fair, and other writers would wait until the last step."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A batch, and the rate in films per second at which workers take films now."""

    batch: wire.Batch
    rate: float

    @property
    def eta_s(self) -> float:
        """Seconds until the batch's jobs may have ended at this rate; 0 if the rate is unknown."""
        left = sum(number for state, number in self.batch.counts.items() if not state.is_terminal)
        return left / self.rate if self.rate > 0 else 0.0


def create(resources: Resources, who: Principal, idempotency_key: str | None) -> str:
    """Create an empty batch, unless the same idempotency key made one before; return its id.

    Raises:
        DatabaseDown: try again later.
    """
    database = resources.database
    new = NewBatch(resources.new_id(), who.tenant, who.key_id, idempotency_key)

    def change() -> None:
        with database.begin_core() as sql:
            batches.insert_batch(sql, new, database.now(sql))

    earlier = _find_earlier(resources, who, idempotency_key)
    if earlier is not None:
        return earlier
    try:
        run_sql(database, change)
    except IntegrityError:  # another request with this key came first
        earlier = _find_earlier(resources, who, idempotency_key)
        if earlier is None:
            raise
        return earlier
    return new.id


def get(resources: Resources, who: Principal, batch_id: str) -> Progress:
    """Return the current progress of a batch, after ending its expired jobs.

    Raises:
        BatchNotFound: unknown, or of another tenant.
    """
    database = resources.database
    end_overdue(database, resources.notifier)

    def query(sql: Session) -> Progress:
        batch = batches.get_batch(sql, who.tenant, batch_id)
        return Progress(batch, 0.0 if batch.done else queue_queries.work_rate(sql, database.now(sql)))

    return read(database, query)


def cancel(resources: Resources, who: Principal, batch_id: str) -> None:
    """Cancel the unfinished jobs of a batch, step by step; films submitted to it meanwhile may go on.

    Raises:
        BatchNotFound: unknown, or of another tenant.
    """
    read_row(resources.database, lambda sql: batches.get_created_at(sql, who.tenant, batch_id))
    cancelled = _cancel_step(resources, who, batch_id, "")
    while len(cancelled) == jobs.CANCEL_STEP:
        time.sleep(REST_S)
        cancelled = _cancel_step(resources, who, batch_id, cancelled[-1])


def _cancel_step(resources: Resources, who: Principal, batch_id: str, after: str) -> list[str]:
    def change() -> list[str]:
        with jobs.changing(resources.database) as changes:
            return changes.cancel_batch(who.tenant, batch_id, f"key:{who.key_id}", after)

    cancelled = run_sql(resources.database, change)
    resources.notifier.publish(cancelled)
    return cancelled


def _find_earlier(resources: Resources, who: Principal, key: str | None) -> str | None:
    if key is None:
        return None
    return read_row(resources.database, lambda sql: batches.find_by_idempotency_key(sql, who.tenant, key))
