"""The use case "submit": bytes to an accepted job, or a named refusal with nothing stored. Knows no Flask."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial

from sqlalchemy.exc import IntegrityError

from shared import faults, wire
from shared.db import again, answers, batches, jobs, queries, queue_queries
from shared.db.answers import StoredFilm
from shared.db.engine import Database
from shared.db.jobs import JobChanges, NewJob
from shared.db.keys import Principal
from shared.domain import FilmFacts, JobState, Priority
from shared.errors import (
    BlobMissing,
    DatabaseDown,
    DigestMismatch,
    IdempotencyMismatch,
    JobNotFound,
    StorageDown,
    StorageFull,
    TooLarge,
    Unavailable,
)
from shared.faults import Fault
from shared.greenlets import run_beside_sql, run_in_thread, run_where_long
from shared.imaging import stored
from shared.ports import Notifier
from shared.wiring import Resources
from web.backpressure import Backpressure
from web.offload import read_row, run_sql, run_then_sql


@dataclass(frozen=True)  # without slots: a cached property has nowhere to stay in them
class Upload:
    """What came with the request: bytes and wishes, never a file name.

    Attributes:
        expires_in_s: after this it need not start any more.
        is_fresh: a worker shall answer, even where the answer is stored.
        promised_sha256: in hex, where the client sent it.
        batch_id: the batch that it is sent in, if any.
    """

    data: bytes
    priority: Priority
    idempotency_key: str | None
    request_id: str
    expires_in_s: int | None = None
    is_fresh: bool = False
    promised_sha256: str | None = None
    batch_id: str | None = None

    @cached_property
    def sha256(self) -> str:
        """Of `data`, in hex; worked out once."""
        return run_where_long(len(self.data), lambda: hashlib.sha256(self.data).hexdigest())


@dataclass(frozen=True, slots=True)
class Receipt:
    """A submission's job; one that is new has been queued just now, any other may have ended already."""

    job_id: str
    is_new: bool


def submit(resources: Resources, gate: Backpressure, who: Principal, upload: Upload) -> Receipt:
    """Decode, store, commit, ring: in this order, so that a job that is accepted cannot be lost.

    A film that this tenant has had answered by the model that serves now gets a job with a copy of that result.

    Raises:
        TenantQueueFull, QueueFull, StorageFull: there is no room now; nothing was stored.
        RefusedUpload: the film cannot be taken; nothing was stored.
        BatchNotFound: this tenant has no such batch.
        IdempotencyMismatch: the key was used for another film.
        Unavailable: decoder, storage or database is away; the same request may be sent again.
    """
    _check(upload, resources.settings.max_upload_bytes)
    _check_batch(resources.database, who, upload.batch_id)
    earlier, answered = _look_up(resources, who, upload)
    if earlier is None and answered is not None:
        gate.check_room()
        earlier = _answer(resources, who, upload, answered)
    if earlier is not None:
        return Receipt(earlier, is_new=False)  # one accepted or answered before is answered however full it is
    return accept(resources, gate, who, upload.priority, lambda: _store(resources, who, upload))


def _check(upload: Upload, limit_bytes: int) -> None:
    if len(upload.data) > limit_bytes:
        raise TooLarge(f"The file is larger than {limit_bytes} bytes; send a smaller copy.")
    if upload.promised_sha256 not in {None, upload.sha256}:
        raise DigestMismatch("The received bytes do not match the SHA-256 in Content-Digest; send the film again.")


def _check_batch(database: Database, who: Principal, batch_id: str | None) -> None:
    if batch_id is not None:  # none is ever deleted, so it is still there when the job is inserted
        read_row(database, lambda sql: batches.get_created_at(sql, who.tenant, batch_id))


def get_job(resources: Resources, who: Principal, job_id: str) -> wire.Job:
    """The job as the caller may see it; one past its time has ended.

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
    """End the films that did not start in their time, as each worker does, since there may be none.

    Where nothing can be written they are told as they are read.
    """

    def change() -> list[str]:
        with jobs.changing(database) as changes:
            return changes.expire_due()

    with suppress(DatabaseDown, StorageFull):
        if read_row(database, lambda sql: queue_queries.has_overdue(sql, database.now(sql))):
            notifier.publish(run_sql(database, change))


def cancel(resources: Resources, who: Principal, job_id: str) -> None:
    """Cancel a job that has not ended; a running one's result will not be published.

    Raises:
        JobNotFound: unknown, or of another tenant.
        IllegalTransition: it has ended.
    """

    def change() -> None:
        with jobs.changing(resources.database) as changes:
            changes.cancel(who.tenant, job_id, f"key:{who.key_id}")

    run_sql(resources.database, change)
    resources.notifier.publish([job_id])


def accept(
    resources: Resources, gate: Backpressure, who: Principal, priority: Priority, store: Callable[[], Receipt]
) -> Receipt:
    """Store a film and its job where there is room for them, and ring; raises as `gate.admit` and `store` do."""
    gate.admit(who.tenant)
    receipt = None
    try:
        receipt = store()
    finally:
        (gate.note_accepted if receipt and receipt.is_new else gate.give_back)(who.tenant)
    if receipt.is_new:
        faults.reach(Fault.JOB_COMMITTED)
        resources.queue.classify(receipt.job_id, priority)
        faults.reach(Fault.JOB_RUNG)
    return receipt


def _store(resources: Resources, who: Principal, upload: Upload) -> Receipt:
    """Film and row; where another request with the same key came first, its job."""
    film = resources.decoder.decode(upload.data, who.tenant, upload.sha256)
    faults.reach(Fault.FILM_DECODED)
    job_id = resources.new_id()

    def put() -> NewJob:
        ref = resources.blobs.put(who.tenant, job_id, stored.to_bytes(film.pixels), film.stored_sha256)
        faults.reach(Fault.BLOB_STORED)
        return _new_job(resources, who, upload, film.facts, job_id, ref)

    accepted_id = run_then_sql(resources.database, put, lambda new: _insert(resources, who, upload, new))
    return Receipt(accepted_id, is_new=accepted_id == job_id)


def _look_up(resources: Resources, who: Principal, upload: Upload) -> tuple[str | None, StoredFilm | None]:
    """The job that the same key made before; else the one whose result answers this film, unless a worker shall."""
    earlier = _find_earlier(resources, who, upload)
    if earlier is not None or upload.is_fresh:
        return earlier, None
    database, digest = resources.database, upload.sha256
    return None, read_row(database, lambda sql: answers.find_answered(sql, database.now(sql), who.tenant, digest))


def _answer(resources: Resources, who: Principal, upload: Upload, answered: StoredFilm) -> str | None:
    """A job of its own with a film file of its own and a copy of the result; None where a worker has to answer."""
    job_id = resources.new_id()
    try:
        ref = run_in_thread(lambda: resources.blobs.copy(answered.blob_ref, job_id))
    except BlobMissing:
        return None
    faults.reach(Fault.BLOB_STORED)
    new = _new_job(resources, who, upload, answered.facts, job_id, ref)
    try:
        return run_sql(resources.database, lambda: _insert(resources, who, upload, new, answered.job_id))
    except JobNotFound:  # it went meanwhile
        return None


def _find_earlier(resources: Resources, who: Principal, upload: Upload) -> str | None:
    """The job that the same key and film made before."""
    if upload.idempotency_key is None:
        return None
    with resources.database.read_core() as sql:
        found = queries.find_by_idempotency_key(sql, who.tenant, upload.idempotency_key)
        origin = again.find_origin(sql, found[0]) if found else None
    if found is None:
        return None
    job_id, input_sha256, batch_id = found
    if input_sha256 != upload.sha256:
        raise IdempotencyMismatch("This Idempotency-Key was used for another film; choose a new one.")
    if batch_id != upload.batch_id:
        raise IdempotencyMismatch("This Idempotency-Key was used for this film in another batch; choose a new one.")
    if origin is not None:
        raise IdempotencyMismatch("This Idempotency-Key was used to classify this film again; choose a new one.")
    return job_id


def _new_job(resources: Resources, who: Principal, upload: Upload, facts: FilmFacts, job_id: str, ref: str) -> NewJob:  # noqa: PLR0913, PLR0917  each is a fact of the row
    return NewJob(
        id=job_id,
        tenant=who.tenant,
        owner=who.key_id,
        idempotency_key=upload.idempotency_key,
        facts=facts,
        blob_ref=ref,
        priority=upload.priority,
        max_attempts=resources.settings.max_attempts,
        expires_in_s=upload.expires_in_s,
        request_id=upload.request_id,
        batch_id=upload.batch_id,
        role=who.role,
    )


def _insert(resources: Resources, who: Principal, upload: Upload, new: NewJob, answered_by: str | None = None) -> str:
    def write(changes: JobChanges) -> None:
        if answered_by is None:
            changes.insert_queued(new)
        else:
            changes.insert_answered(new, answered_by)

    return insert(resources, new, write, lambda: _find_earlier(resources, who, upload))


def insert(
    resources: Resources, new: NewJob, write: Callable[[JobChanges], None], find_earlier: Callable[[], str | None]
) -> str:
    """Row and audit events in one transaction; of two requests with one key, the later gets the earlier's job.

    Raises:
        DatabaseDown: try again later.
        Unavailable: the earlier job is just being deleted; likewise.
        IdempotencyMismatch: as `find_earlier`.
    """
    try:
        _write_row(resources, new, write)
    except IntegrityError as error:
        earlier = find_earlier()
        if earlier is None and new.idempotency_key is None:
            raise
        if earlier is None:  # that job was deleted meanwhile, and its key is free again
            raise Unavailable("The job of this Idempotency-Key is being deleted; send the film again.") from error
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
                drop = partial(resources.blobs.delete, new.blob_ref)
                run_beside_sql(drop, is_sqlite=resources.database.is_sqlite)
        raise
