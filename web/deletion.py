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
from web.offload import read_row, run_sql

log = get_logger(__name__)


def kept_until(settings: Settings, job: wire.Job) -> datetime | None:
    """When the job will be deleted, if nobody does it before; None where it is kept for good or has not ended."""
    if settings.retain_days is None or job.finished_at is None:
        return None
    return job.finished_at + timedelta(days=settings.retain_days)


def dated(settings: Settings, job: wire.Job) -> wire.Job:
    """The job with that time in it; the table has no such column, and what it has is not asked again."""
    until = kept_until(settings, job)
    return job if until is None else job.model_copy(update={"retain_until": until})


def may_delete(resources: Resources, who: Principal, job_id: str) -> bool:
    """Whether this caller may delete a job of its tenant."""
    return read_row(resources.database, lambda sql: deletions.may_delete(sql, who, job_id))


def delete(resources: Resources, who: Principal, job_id: str) -> None:
    """Delete a job, whatever its state: first its rows, then its film.

    A film that cannot be removed now is an orphan from then on, which workers remove.

    Raises:
        JobNotFound: unknown, of another tenant, or deleted (`JobDeleted`).
        Forbidden: the caller neither sent it nor is an admin.
        StorageDown: the films' folder is not there, not ours, or takes no changes; nothing was deleted.
    """
    run_in_thread(resources.blobs.try_to_change)

    def change() -> Deleted:
        with jobs.changing(resources.database) as changes:
            return deletions.delete_job(changes, who, job_id)

    gone = run_sql(resources.database, change)
    try:
        run_in_thread(lambda: resources.blobs.delete(gone.blob_ref))
    except StorageDown as error:
        log.warning("film.not_removed", job_id=job_id, **error.facts)
    resources.notifier.publish([job_id])
