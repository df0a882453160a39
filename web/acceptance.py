"""A film becomes an accepted job: admission, one transaction for the row and its audit events, and the ring.

Shared by the use cases "submit" and "classify again". Knows no Flask.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from sqlalchemy.exc import IntegrityError

from shared import faults
from shared.db import jobs
from shared.db.jobs import JobChanges, NewJob
from shared.db.keys import Principal
from shared.domain import Priority
from shared.errors import StorageDown, Unavailable
from shared.faults import Fault
from shared.greenlets import run_beside_sql
from shared.wiring import Resources
from web.backpressure import Backpressure


@dataclass(frozen=True, slots=True)
class Accepted:
    """The job of a request; a new one has just been queued, any other may have ended already."""

    job_id: str
    is_new: bool


def accept(
    resources: Resources, admission: Backpressure, who: Principal, priority: Priority, store: Callable[[], Accepted]
) -> Accepted:
    """Admit a film, store it with its job by `store`, and ring.

    Raises:
        AppError: as `Backpressure.admit` and `store` do.
    """
    admission.admit(who.tenant)
    accepted = None
    try:
        accepted = store()
    finally:
        if accepted and accepted.is_new:
            admission.note_accepted(who.tenant)
        else:
            admission.give_back(who.tenant)
    if accepted.is_new:
        faults.reach(Fault.JOB_COMMITTED)
        resources.queue.classify(accepted.job_id, priority)
        faults.reach(Fault.JOB_RUNG)
    return accepted


def insert(
    resources: Resources, new: NewJob, write: Callable[[JobChanges], None], find_earlier: Callable[[], str | None]
) -> str:
    """Write the row and its audit events in one transaction; return the job's id.

    Of two requests with the same key, the later one gets the job of the earlier one, by `find_earlier`.

    Raises:
        DatabaseDown: try again later.
        Unavailable: the earlier job is being deleted; likewise.
        IdempotencyMismatch: as `find_earlier`.
    """
    try:
        _write_row(resources, new, write)
    except IntegrityError as error:
        earlier = find_earlier()
        if earlier is None and new.idempotency_key is None:
            raise
        if earlier is None:  # the earlier job has been deleted since, and its key is free again
            raise Unavailable("The job that this key had made is just being deleted; send it again.") from error
        return earlier
    return new.id


def _write_row(resources: Resources, new: NewJob, write: Callable[[JobChanges], None]) -> None:
    """Delete the stored film if the transaction fails before the COMMIT, so that retries leave no files behind.

    After a failed COMMIT the film is kept: the row may be there. If it is not, the sweep removes the orphan.
    """
    transaction: JobChanges | None = None

    def write_noting(changes: JobChanges) -> None:
        nonlocal transaction
        transaction = changes
        write(changes)
        faults.reach(Fault.JOB_INSERTED)

    try:
        jobs.change_together(resources.database, write_noting)
    except Exception as error:
        may_be_committed = transaction is not None and transaction.is_for_commit
        if not may_be_committed or isinstance(error, IntegrityError):
            with suppress(StorageDown):
                delete = partial(resources.blobs.delete, new.blob_ref)
                run_beside_sql(delete, is_sqlite=resources.database.is_sqlite)
        raise
