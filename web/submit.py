"""The use case "submit": bytes to an accepted job, or a named refusal with nothing stored. Knows no Flask."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from shared import faults
from shared.db import again, answers, batches, queries
from shared.db.answers import StoredFilm
from shared.db.engine import Database
from shared.db.jobs import JobChanges, NewJob
from shared.db.keys import Principal
from shared.domain import FilmFacts, Priority
from shared.errors import BlobMissing, DigestMismatch, IdempotencyMismatch, JobNotFound, TooLarge
from shared.faults import Fault
from shared.greenlets import run_in_thread, run_where_long
from shared.imaging import stored
from shared.wiring import Resources
from web.acceptance import Accepted, accept, insert
from web.backpressure import Backpressure
from web.offload import read_row, run_sql, run_then_sql


@dataclass(frozen=True)  # without slots: a cached property has nowhere to stay in them
class Upload:
    """A film as it was sent, and how its job is wanted; never a file name.

    Attributes:
        expires_in_s: a job that has not started after this time expires.
        is_fresh: a worker must answer, even if the answer is stored.
        promised_sha256: the SHA-256 that the client sent, in hex; None if it sent none.
        batch_id: the batch that the film belongs to, if any.
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
        """SHA-256 of `data`, in hex; computed once."""
        return run_where_long(len(self.data), lambda: hashlib.sha256(self.data).hexdigest())


def submit(resources: Resources, admission: Backpressure, who: Principal, upload: Upload) -> Accepted:
    """Decode, store, commit, ring: in this order, so that an accepted job cannot be lost.

    If the current model has already answered this film for the tenant, the new job gets a copy of that result.

    Raises:
        TenantQueueFull, QueueFull, StorageFull: the queue or the disk is full; nothing was stored.
        RefusedUpload: the film cannot be accepted; nothing was stored.
        BatchNotFound: this tenant has no such batch.
        IdempotencyMismatch: the key was used for another film.
        Unavailable: decoder, storage or database is unavailable; the same request may be sent again.
    """
    _check(upload, resources.settings.max_upload_bytes)
    _check_batch(resources.database, who, upload.batch_id)
    earlier, answered = _look_up(resources, who, upload)
    if earlier is None and answered is not None:
        admission.check_disk()
        earlier = _answer(resources, who, upload, answered)
    if earlier is not None:
        return Accepted(earlier, is_new=False)  # even if the queue is full
    return accept(resources, admission, who, upload.priority, lambda: _store(resources, who, upload))


def _check(upload: Upload, limit_bytes: int) -> None:
    if len(upload.data) > limit_bytes:
        raise TooLarge(f"The file is larger than {limit_bytes} bytes; send a smaller copy.")
    if upload.promised_sha256 not in {None, upload.sha256}:
        raise DigestMismatch("The received bytes do not match the SHA-256 in Content-Digest; send the film again.")


def _check_batch(database: Database, who: Principal, batch_id: str | None) -> None:
    if batch_id is not None:  # batches are never deleted: it will exist when the job is inserted
        read_row(database, lambda sql: batches.get_created_at(sql, who.tenant, batch_id))


def _store(resources: Resources, who: Principal, upload: Upload) -> Accepted:
    """Store film and row; if another request with the same key came first, return its job."""
    film = resources.decoder.decode(upload.data, who.tenant, upload.sha256)
    faults.reach(Fault.FILM_DECODED)
    job_id = resources.new_id()

    def put() -> NewJob:
        ref = resources.blobs.put(who.tenant, job_id, stored.to_bytes(film.pixels), film.stored_sha256)
        faults.reach(Fault.BLOB_STORED)
        return _new_job(resources, who, upload, film.facts, job_id, ref)

    accepted_id = run_then_sql(resources.database, put, lambda new: _insert(resources, who, upload, new))
    return Accepted(accepted_id, is_new=accepted_id == job_id)


def _look_up(resources: Resources, who: Principal, upload: Upload) -> tuple[str | None, StoredFilm | None]:
    """Find the job that the same key made, else the stored film whose result answers this one, unless `is_fresh`."""
    earlier = _find_earlier(resources, who, upload)
    if earlier is not None or upload.is_fresh:
        return earlier, None
    database, digest = resources.database, upload.sha256
    return None, read_row(database, lambda sql: answers.find_answered(sql, database.now(sql), who.tenant, digest))


def _answer(resources: Resources, who: Principal, upload: Upload, answered: StoredFilm) -> str | None:
    """Make a job with its own copy of film file and result; return None if a worker has to answer after all."""
    job_id = resources.new_id()
    try:
        ref = run_in_thread(lambda: resources.blobs.copy(answered.blob_ref, job_id))
    except BlobMissing:
        return None
    faults.reach(Fault.BLOB_STORED)
    new = _new_job(resources, who, upload, answered.facts, job_id, ref)
    try:
        return run_sql(resources.database, lambda: _insert(resources, who, upload, new, answered.job_id))
    except JobNotFound:  # it was deleted meanwhile
        return None


def _find_earlier(resources: Resources, who: Principal, upload: Upload) -> str | None:
    """Find the job that the same key and film made."""
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
