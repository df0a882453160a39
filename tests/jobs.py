"""Jobs for tests: made through the product's own functions, keyword-only, sensible defaults."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
from sqlalchemy import select

from shared.db import jobs
from shared.db.batches import NewBatch, insert_batch
from shared.db.claim_order import Claimant
from shared.db.engine import Database
from shared.db.jobs import NewJob
from shared.db.leases import AttemptRecord, Claim
from shared.db.tables import Job, Model, WorkerHeartbeat
from shared.domain import FilmFacts, Priority
from shared.errors import LeaseLost
from shared.imaging import stored
from shared.version import CODE_VERSION
from shared.wiring import new_job_id
from tests.fakes import make_manifest


def make_facts(*, seed: str = "film") -> FilmFacts:
    """Facts of a film that differ by `seed`."""
    digest = hashlib.sha256(seed.encode()).hexdigest()
    return FilmFacts("png", "L", 8, 64, 48, digest, digest)


def make_job(  # noqa: PLR0913 - each has a default
    database: Database,
    *,
    priority: Priority = Priority.ROUTINE,
    max_attempts: int = 3,
    expires_in_s: float | None = None,
    idempotency_key: str | None = None,
    blob_ref: str = "default/none/none",
    tenant: str = "default",
    batch_id: str | None = None,
) -> str:
    """Insert a queued job; returns its id."""
    job_id = new_job_id()
    with jobs.changing(database) as changes:
        changes.insert_queued(
            NewJob(
                job_id,
                tenant,
                "testkey",
                idempotency_key,
                make_facts(seed=job_id),
                blob_ref,
                priority,
                max_attempts,
                "request",
                expires_in_s,
                batch_id,
            )
        )
    return job_id


def make_batch(database: Database, *, tenant: str = "default") -> str:
    """An empty batch; its id."""
    new = NewBatch(new_job_id(), tenant, "testkey", None)
    with database.begin_core() as sql:
        insert_batch(sql, new, database.now(sql))
    return new.id


def claimant(
    *, worker: str = "w1", limit: int = 8, priorities: Sequence[Priority] = tuple(Priority), lease_s: float = 20.0
) -> Claimant:
    """Who claims."""
    return Claimant(worker, tuple(priorities), limit, lease_s)


def claim(database: Database, who: Claimant | None = None) -> list[Claim]:
    """Claim a batch."""
    with jobs.changing(database) as changes:
        return changes.claim(who or claimant())


def make_slow(database: Database, seconds: float) -> None:
    """Let every film that was answered have taken so long."""
    with database.begin() as session:
        for job in session.scalars(select(Job).where(Job.finished_at.is_not(None))):
            assert job.finished_at is not None
            job.started_at = job.finished_at - timedelta(seconds=seconds)


def register_model(database: Database) -> str:
    """Make the fake model known; returns its SHA-256."""
    manifest = make_manifest()
    with database.begin() as session:
        if session.get(Model, manifest.weights_sha256) is None:
            session.add(
                Model(
                    weights_sha256=manifest.weights_sha256,
                    name=manifest.name,
                    version=manifest.version,
                    manifest=manifest.model_dump_json(),
                    registered_at=database.now(session),
                )
            )
    return manifest.weights_sha256


def serve_model(database: Database) -> None:
    """A worker with the fake model shows a sign of life."""
    model_sha256 = register_model(database)
    with database.begin() as session:
        now = database.now(session)
        row = WorkerHeartbeat(worker="w1", queues="stat,routine,bulk", model_sha256=model_sha256, device="cpu",
                              golden="passed", started_at=now, polled_at=now)  # fmt: skip
        session.merge(row)


def listen(database: Database, *classes: Priority) -> None:
    """A worker takes these for the next day, and no others."""
    model_sha256 = register_model(database)
    with database.begin() as session:
        now = database.now(session)
        row = WorkerHeartbeat(worker="w7", queues=",".join(classes), model_sha256=model_sha256, device="cpu",
                              started_at=now, polled_at=now + timedelta(days=1))  # fmt: skip
        session.merge(row)


def make_record(model_sha256: str, *, verdict: str = "normal") -> AttemptRecord:
    """A result as the pipeline would write it."""
    raw = stored.saliency_to_bytes(np.linspace(0, 1, 49, dtype=np.float32).reshape(7, 7))
    columns: dict[str, object] = {
        "model_sha256": model_sha256,
        "verdict": verdict,
        "probabilities": {"covid19": 0.1, "normal": 0.8, "viral_pneumonia": 0.1},
        "prediction_set": ["normal"],
        "reasons": [],
        "saliency_method": "grad_cam",
        "saliency": raw,
        "saliency_sha256": hashlib.sha256(raw).hexdigest(),
        "border_share": 0.2,
        "is_degenerate": False,
        "preprocessing": "grey_window_v1",
        "device": "cpu",
        "code_version": CODE_VERSION,
        "duration_ms": 5,
    }
    return AttemptRecord(columns, {name: value for name, value in columns.items() if name != "saliency"})


def finish(database: Database, held: Claim, *, worker: str = "w1", verdict: str = "normal") -> None:
    """Finish one job with an ordinary result.

    Raises:
        LeaseLost: another attempt owns it.
    """
    record = make_record(register_model(database), verdict=verdict)
    with jobs.changing(database) as changes:
        if changes.finish(worker, [(held, record)]):
            raise LeaseLost("Another attempt owns this job now.")
