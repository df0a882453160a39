"""The use case "classify again": the stored film of a job that has ended, in a job of its own. Knows no Flask.

A worker answers it, never the stored answer. The other job stays as it is, and so does its audit trail.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared import faults, wire
from shared.db import again, answers, queries
from shared.db.answers import NewerAnswer, ServingModel, StoredFilm
from shared.db.engine import Clock, Database, Sql
from shared.db.jobs import JobChanges, NewJob
from shared.db.keys import Principal
from shared.domain import Priority
from shared.errors import BlobMissing, IdempotencyMismatch
from shared.faults import Fault
from shared.greenlets import run_in_thread
from shared.wiring import Resources
from web.acceptance import Accepted, accept, insert
from web.backpressure import Backpressure
from web.offload import read_row, run_sql


@dataclass(frozen=True, slots=True)
class Wish:
    """Which job's film to classify again, and the properties of the new job, which expires after `expires_in_s`."""

    job_id: str
    priority: Priority
    idempotency_key: str | None
    request_id: str
    expires_in_s: int | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
    """How a job stands beside other answers to its film.

    Attributes:
        origin: id of the job whose film this one classifies again.
        newer: the newest later job in which a worker answered the film.
        replacement: the model that serves now, if the film's newest answer is of another model.
        is_offered: whether to offer "Classify again": the film has no answer of the serving model, and no job that
            would give one is waiting.
        waiting: id of the newest later job that has not ended, looked for only if its answer is wanted.
    """

    origin: str | None
    newer: NewerAnswer | None
    replacement: ServingModel | None
    is_offered: bool
    waiting: str | None = None


def classify_again(resources: Resources, admission: Backpressure, who: Principal, wish: Wish) -> Accepted:
    """Make a new job for the film of an ended one: copy the film, commit, ring.

    Raises:
        JobNotFound: unknown, of another tenant, or deleted (`JobDeleted`).
        Conflict: the job has not ended.
        IdempotencyMismatch: the key was used for something else.
        BlobMissing: the film is gone or damaged.
        TenantQueueFull, QueueFull, StorageFull: no room now; nothing was stored.
        Unavailable: storage or database is away; the same request may be sent again.
    """
    earlier = _find_earlier(resources.database, who, wish)
    if earlier is not None:
        return Accepted(earlier, is_new=False)
    film = _get_film(resources, who, wish)
    return accept(resources, admission, who, wish.priority, lambda: _store(resources, who, wish, film))


def read_outlook(sql: Sql, clock: Clock, who: Principal, job: wire.Job) -> Outlook:
    """Return how a job that the caller has read stands beside other answers to its film."""
    origin = again.find_origin(sql, job.id)
    if not job.done:
        return Outlook(origin, None, None, is_offered=False)
    newer = answers.find_newer(sql, who.tenant, job.input.sha256, job.id)
    serving = answers.find_serving(sql, clock(sql))
    newest = newer.model_sha256 if newer else job.model.sha256 if job.model else None
    replacement = serving if serving and newest not in {None, serving.sha256} else None
    if newest is not None and replacement is None:
        return Outlook(origin, newer, None, is_offered=False)
    waiting = again.find_waiting(sql, who.tenant, job.input.sha256, job.id)
    return Outlook(origin, newer, replacement, is_offered=waiting is None, waiting=waiting)


def _get_film(resources: Resources, who: Principal, wish: Wish) -> StoredFilm:
    return read_row(resources.database, lambda sql: again.get_ended_film(sql, who.tenant, wish.job_id))


def _find_earlier(database: Database, who: Principal, wish: Wish) -> str | None:
    """Return the id of the job that the same request made before; None if there is none.

    Raises:
        IdempotencyMismatch: the key was used for something else.
    """
    key = wish.idempotency_key
    if key is None:
        return None

    def query(sql: Sql) -> str | None:
        row = queries.find_by_idempotency_key(sql, who.tenant, key)
        if row is None:
            return None
        job_id, *_ = row
        if again.find_origin(sql, job_id) != wish.job_id:
            raise IdempotencyMismatch("This Idempotency-Key was used for something else; choose a new one.")
        return job_id

    return read_row(database, query)


def _store(resources: Resources, who: Principal, wish: Wish, film: StoredFilm) -> Accepted:
    """Copy the film file and insert the job; if another request with the same key was first, return its job."""
    job_id, database = resources.new_id(), resources.database
    try:
        ref = run_in_thread(lambda: resources.blobs.copy(film.blob_ref, job_id))
    except BlobMissing:
        _get_film(resources, who, wish)  # raises `JobDeleted` if the job was deleted meanwhile
        raise
    faults.reach(Fault.BLOB_STORED)
    new = NewJob(
        id=job_id,
        tenant=who.tenant,
        owner=who.key_id,
        idempotency_key=wish.idempotency_key,
        facts=film.facts,
        blob_ref=ref,
        priority=wish.priority,
        max_attempts=resources.settings.max_attempts,
        request_id=wish.request_id,
        expires_in_s=wish.expires_in_s,
        role=who.role,
    )

    def write(changes: JobChanges) -> None:
        changes.insert_again(new, wish.job_id)

    accepted_id = run_sql(database, lambda: insert(resources, new, write, lambda: _find_earlier(database, who, wish)))
    return Accepted(accepted_id, is_new=accepted_id == job_id)
