"""The use case "classify again": the stored film of a job that has ended, in a job of its own. Knows no Flask.

A worker answers it, never the stored answer. The other job stays as it is, and so does its audit trail.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared import faults, wire
from shared.db import again, answers, queries
from shared.db.answers import NewerAnswer, ServingModel, StoredFilm
from shared.db.engine import Database, Sql
from shared.db.jobs import JobChanges, NewJob
from shared.db.keys import Principal
from shared.domain import Priority
from shared.errors import BlobMissing, IdempotencyMismatch
from shared.faults import Fault
from shared.greenlets import run_in_thread
from shared.wiring import Resources
from web.backpressure import Backpressure
from web.offload import read_row, run_sql
from web.submit import Receipt, accept, insert


@dataclass(frozen=True, slots=True)
class Wish:
    """Which job's film, and how the new job shall be; after `expires_in_s` it need not start any more."""

    job_id: str
    priority: Priority
    idempotency_key: str | None
    request_id: str
    expires_in_s: int | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
    """How a job stands beside other answers to its film.

    Attributes:
        origin: the job whose film it classifies again.
        newer: the newest job after it in which a worker answered its film.
        replacement: the model that serves now, where another one gave the film's newest answer.
        is_offered: the film has no answer, or that one is of another model, and none is on its way.
        waiting: the newest job after it that is about to answer, where one would be offered.
    """

    origin: str | None
    newer: NewerAnswer | None
    replacement: ServingModel | None
    is_offered: bool
    waiting: str | None = None


def classify_again(resources: Resources, gate: Backpressure, who: Principal, wish: Wish) -> Receipt:
    """A job of its own for the film of another: copy the film, commit, ring.

    Raises:
        JobNotFound: unknown, of another tenant, or deleted (`JobDeleted`).
        Conflict: the other job has not ended.
        IdempotencyMismatch: the key was used for something else.
        BlobMissing: the film is gone or damaged.
        TenantQueueFull, QueueFull, StorageFull: there is no room now; nothing was stored.
        Unavailable: storage or database is away; the same request may be sent again.
    """
    earlier = _find_earlier(resources.database, who, wish)
    if earlier is not None:
        return Receipt(earlier, is_new=False)
    film = _get_film(resources, who, wish)
    return accept(resources, gate, who, wish.priority, lambda: _store(resources, who, wish, film))


def get_outlook(resources: Resources, who: Principal, job: wire.Job) -> Outlook:
    """What the page of a job that the caller has read says of other answers to its film."""
    database = resources.database

    def query(sql: Sql) -> Outlook:
        origin = again.find_origin(sql, job.id)
        if not job.done:
            return Outlook(origin, None, None, is_offered=False)
        newer = answers.find_newer(sql, who.tenant, job.input.sha256, job.id)
        serving = answers.find_serving(sql, database.now(sql))
        newest = newer.model_sha256 if newer else job.model.sha256 if job.model else None
        replacement = serving if serving and newest not in {None, serving.sha256} else None
        if newest is not None and replacement is None:
            return Outlook(origin, newer, None, is_offered=False)
        waiting = again.find_waiting(sql, who.tenant, job.input.sha256, job.id)
        return Outlook(origin, newer, replacement, is_offered=waiting is None, waiting=waiting)

    return read_row(database, query)


def _get_film(resources: Resources, who: Principal, wish: Wish) -> StoredFilm:
    return read_row(resources.database, lambda sql: again.get_ended_film(sql, who.tenant, wish.job_id))


def _find_earlier(database: Database, who: Principal, wish: Wish) -> str | None:
    """The job that the same key made before, of the same job."""
    key = wish.idempotency_key
    if key is None:
        return None

    def query(sql: Sql) -> str | None:
        found = queries.find_by_idempotency_key(sql, who.tenant, key)
        if found is None:
            return None
        if again.find_origin(sql, found[0]) != wish.job_id:
            raise IdempotencyMismatch("This Idempotency-Key was used for something else; choose a new one.")
        return found[0]

    return read_row(database, query)


def _store(resources: Resources, who: Principal, wish: Wish, film: StoredFilm) -> Receipt:
    """Film and row; where another request with the same key came first, its job."""
    job_id, database = resources.new_id(), resources.database
    try:
        ref = run_in_thread(lambda: resources.blobs.copy(film.blob_ref, job_id))
    except BlobMissing:
        _get_film(resources, who, wish)  # it may have been deleted meanwhile: then that is what is told
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
    return Receipt(accepted_id, is_new=accepted_id == job_id)
