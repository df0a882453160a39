"""Retention: deletes jobs that ended `PLAINFILM_RETAIN_DAYS` ago, with film, result and explanations.

The purge loop of each worker calls it; a lock lets one worker at a time do the work.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from shared.db import deletions, jobs, locks
from shared.db.deletions import Deleted
from shared.log import get_logger
from shared.wiring import Resources
from worker.removal import remove_films

log = get_logger(__name__)

LOCK: Final = "retention"
LOCK_S: Final = 60.0
"""The lock of a worker that died expires after this; each batch extends it."""

BATCH: Final = 100
"""Jobs in one transaction: so few that a film submitted meanwhile does not wait long."""

REST_S: Final = 0.05
"""Between two batches: SQLite has no queue for its lock, and waiting connections retry only seldom."""


def delete_old(resources: Resources, worker: str, rest: Callable[[float], bool] = lambda _s: False) -> int:
    """Delete the jobs past their retention, batch by batch.

    Args:
        rest: waits for so many seconds between two batches; returns True to stop because the worker shuts down.

    Returns:
        The number of jobs deleted; 0 too if no retention is set, or if another worker holds the lock.

    Raises:
        StorageDown: the film folder is unavailable, belongs to another database, or is read-only; no other batch is
            begun. If the rows of a batch are deleted already, its films are orphans and are purged later.
    """
    if resources.settings.retain_days is None:
        return 0
    kept = timedelta(days=resources.settings.retain_days)
    deleted = 0
    while True:
        resources.blobs.try_to_change()
        batch = _delete_batch(resources, worker, kept)
        remove_films(resources.blobs, (job.blob_ref for job in batch))
        deleted += len(batch)
        if len(batch) < BATCH or rest(REST_S):
            break
    if deleted:
        log.info("jobs.deleted", n=deleted)
    return deleted


def _delete_batch(resources: Resources, worker: str, kept: timedelta) -> list[Deleted]:
    """Delete the rows of one batch, if this worker gets the lock; return the deleted jobs."""
    with jobs.changing(resources.database) as changes:
        if not locks.take(changes.sql, LOCK, worker, timedelta(seconds=LOCK_S), changes.now):
            return []
        return deletions.delete_ended_before(changes, changes.now - kept, BATCH)
