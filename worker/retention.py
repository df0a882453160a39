"""What has been kept for its time is deleted: jobs that ended `PLAINFILM_RETAIN_DAYS` ago, with film, result and maps.

Any worker's purge loop calls it; one at a time does the work.
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

TURN: Final = "retention"
TURN_S: Final = 60.0
"""A worker that dies at it leaves its turn free after this; each batch takes the turn anew."""

BATCH: Final = 100
"""Jobs of one transaction, so that films which come meanwhile wait for a few at the most."""

REST_S: Final = 0.05
"""Between two batches: SQLite gives its lock to whoever asks just then, and one who waits for it asks seldom."""


def delete_old(resources: Resources, worker: str, rest: Callable[[float], bool] = lambda _s: False) -> int:
    """Delete what has been kept for its time, batch by batch.

    Args:
        rest: waits so long between two batches; True where the worker ends, and the next one goes on.

    Returns:
        How many jobs were deleted; 0 too where all is kept for good or another worker has the turn.

    Raises:
        StorageDown: the films' folder is not there, is another database's, or takes no changes; no batch is begun then.
            Films of a batch whose rows are deleted by then are orphans, and removed as such.
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
    with jobs.changing(resources.database) as changes:
        if not locks.take(changes.sql, TURN, worker, timedelta(seconds=TURN_S), changes.now):
            return []
        return deletions.delete_ended_before(changes, changes.now - kept, BATCH)
