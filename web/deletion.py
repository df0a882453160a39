"""The use case "delete": a job with its film, result and maps, for good. Knows no Flask."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared import wire
from shared.db import deletions, jobs
from shared.db.deletions import Deleted
from shared.db.keys import Principal
from shared.errors import StorageDown
from shared.greenlets import run_in_thread
from shared.log import get_logger
from shared.settings import Settings
from shared.wiring import Resources
from web.offload import run_sql

log = get_logger(__name__)


def kept_until(settings: Settings, job: wire.Job) -> datetime | None:
    """Return when retention will delete a job; None if it has not ended or is kept for good."""
    if settings.retain_days is None or job.finished_at is None:
        return None
    return job.finished_at + timedelta(days=settings.retain_days)


def dated(settings: Settings, job: wire.Job) -> wire.Job:
    """Return a copy with `retain_until` set; it is computed from `finished_at`, not stored."""
    until = kept_until(settings, job)
    return job if until is None else job.model_copy(update={"retain_until": until})


def delete(resources: Resources, who: Principal, job_id: str) -> None:
    """Delete a job in any state: first its rows, then its film file.

    A film file that cannot be removed now is left as an orphan for the workers' sweep.

    Raises:
        JobNotFound: unknown, of another tenant, or deleted already (`JobDeleted`).
        Forbidden: the caller is neither the sender nor an admin.
        StorageDown: the films' folder is missing, of another database or read-only; nothing was deleted.
    """
    run_in_thread(resources.blobs.try_to_change)

    def change() -> Deleted:
        with jobs.changing(resources.database) as changes:
            return deletions.delete_job(changes, who, job_id)

    deleted = run_sql(resources.database, change)
    try:
        run_in_thread(lambda: resources.blobs.delete(deleted.blob_ref))
    except StorageDown as error:
        log.warning("film.not_removed", job_id=job_id, **error.facts)
    resources.notifier.publish([job_id])
