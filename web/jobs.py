"""Reading and cancelling one job, as its tenant may. Knows no Flask."""

from __future__ import annotations

from contextlib import suppress

from shared import wire
from shared.db import jobs, queries, queue_queries
from shared.db.engine import Database
from shared.db.keys import Principal
from shared.domain import JobState
from shared.errors import DatabaseDown, StorageFull
from shared.ports import Notifier
from shared.wiring import Resources
from web.offload import read_row, run_sql


def get_job(resources: Resources, who: Principal, job_id: str) -> wire.Job:
    """Return the job as the caller may see it; a queued one past its deadline is expired first.

    Raises:
        JobNotFound: unknown, or of another tenant.
    """
    job = _read_job(resources.database, who, job_id)
    if job.status is not JobState.QUEUED or job.expires_at is None:
        return job
    end_overdue(resources.database, resources.notifier)
    return _read_job(resources.database, who, job_id)


def _read_job(database: Database, who: Principal, job_id: str) -> wire.Job:
    return read_row(database, lambda sql: queries.get_job(sql, who.tenant, job_id))


def end_overdue(database: Database, notifier: Notifier) -> None:
    """Expire the films that did not start in time, as workers do, since there may be no worker.

    If nothing can be written, they stay as they are.
    """

    def change() -> list[str]:
        with jobs.changing(database) as changes:
            return changes.expire_due()

    with suppress(DatabaseDown, StorageFull):
        if read_row(database, lambda sql: queue_queries.has_overdue(sql, database.now(sql))):
            notifier.publish(run_sql(database, change))


def cancel(resources: Resources, who: Principal, job_id: str) -> None:
    """Cancel a job that has not ended; the result of a running one will not be published.

    Raises:
        JobNotFound: unknown, or of another tenant.
        IllegalTransition: it has ended.
    """

    def change() -> None:
        with jobs.changing(resources.database) as changes:
            changes.cancel(who.tenant, job_id, f"key:{who.key_id}")

    run_sql(resources.database, change)
    resources.notifier.publish([job_id])
