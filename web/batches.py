"""The use cases of batches: make one, look at it, cancel what has not ended of it. Knows no Flask.

A batch is made empty, and its films are sent into it one a request, as any film is: each is checked, decoded and
answered for itself, under the limits for one (DECISIONS 58).
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
from web.offload import read, read_row, run_sql
from web.submit import end_overdue

REST_S: Final = 0.01
"""Between two steps of a cancellation: SQLite's lock has no line, and another writer would wait for the last step."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A batch, and how many films a second the service finishes now."""

    batch: wire.Batch
    rate: float

    @property
    def eta_s(self) -> float:
        """Until its jobs may have ended at that rate; 0 where nothing is known."""
        left = sum(number for state, number in self.batch.counts.items() if not state.is_terminal)
        return left / self.rate if self.rate > 0 else 0.0


def create(resources: Resources, who: Principal, idempotency_key: str | None) -> str:
    """Make an empty batch, or find the one that the same key made before; its id.

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
    """The batch as it is now; films of it that are past their time have ended.

    Raises:
        BatchNotFound: unknown, or of another tenant.
    """
    database = resources.database
    end_overdue(database, resources.notifier)

    def query(sql: Session) -> Progress:
        batch = batches.get_batch(sql, who.tenant, batch_id)
        return Progress(batch, 0.0 if batch.done else queue_queries.finish_rate(sql, database.now(sql)))

    return read(database, query)


def cancel(resources: Resources, who: Principal, batch_id: str) -> None:
    """Cancel each job of the batch that has not ended, step by step; what is sent into it meanwhile may go on.

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
