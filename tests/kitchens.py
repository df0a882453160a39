"""Engines that misbehave, and a kitchen with shorthands for what comes out of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sqlalchemy import func, select, update

from shared.arrays import FloatArray
from shared.db import queries
from shared.db.engine import Database
from shared.db.tables import AuditEvent, Job
from shared.domain import JobState
from shared.errors import StorageDown
from shared.imaging import stored
from shared.wire import Job as WireJob
from shared.wiring import Resources, new_job_id
from tests.factories import make_pixels
from tests.fakes import FakeEngine, MemoryBlobs
from tests.jobs import make_job
from tests.waiting import LIMIT_S
from worker.engine.base import Inference
from worker.pipeline import process
from worker.stages import BatchReport, Kitchen


class MeddlingEngine(FakeEngine):
    """Does something while it infers."""

    meddle: Callable[[], object] = staticmethod(lambda: None)

    def infer(self, x: FloatArray) -> Inference:
        """Meddle, then answer."""
        self.meddle()
        return FakeEngine.infer(self, x)


class LostEngine(FakeEngine):
    """Answers nothing finite for films whose top is brighter than their bottom."""

    def infer(self, x: FloatArray) -> Inference:
        """NaN for those, a good answer for the others."""
        found = FakeEngine.infer(self, x)
        lost = x[:, :8].mean(axis=(1, 2, 3)) > 0.9
        found.probabilities[lost] = np.nan
        return found


class UnmountedBlobs(MemoryBlobs):
    """A store that is away."""

    def get(self, ref: str, *, is_last: bool = False) -> bytes:  # noqa: ARG002  the port's
        """Refuse for now."""
        raise StorageDown("The stored film cannot be read just now.", ref=ref)


def make_film(resources: Resources, pixels: np.ndarray | None = None, **options: object) -> str:
    """A stored film with its queued job, whose id it returns."""
    data = stored.to_bytes(make_pixels() if pixels is None else pixels)
    ref = resources.blobs.put("default", new_job_id(), data)
    return make_job(resources.database, blob_ref=ref, **options)  # type: ignore[arg-type]


@dataclass
class Setting:
    """A kitchen and shorthands for what comes out of it."""

    kitchen: Kitchen

    @property
    def database(self) -> Database:
        """Its database."""
        return self.kitchen.resources.database

    def film(self, pixels: np.ndarray | None = None, **options: object) -> str:
        """A stored film with its queued job."""
        return make_film(self.kitchen.resources, pixels, **options)

    def process(self) -> BatchReport:
        """One batch."""
        return process(self.kitchen, batches=1)

    def count(self, state: JobState) -> int:
        """How many jobs are in it."""
        with self.database.read() as session:
            return session.scalar(select(func.count()).where(Job.state == state)) or 0

    def job(self, job_id: str) -> WireJob:
        """As the API answers it."""
        with self.database.read() as session:
            return queries.get_job(session, "default", job_id)

    def actions(self, job_id: str) -> list[str]:
        """Its audit trail."""
        with self.database.read() as session:
            found = select(AuditEvent.action).where(AuditEvent.subject == job_id).order_by(AuditEvent.seq)
            return list(session.scalars(found))

    def later(self) -> None:
        """Retried films are due now."""
        with self.database.begin() as session:
            session.execute(update(Job).values(not_before=Job.created_at))

    def blob_ref(self, job_id: str) -> str:
        """Where its film lies."""
        with self.database.read() as session:
            return session.get_one(Job, job_id).blob_ref


class LongPause(random.Random):
    """Draws longer than a test takes, so that what is put back is not due again before it says so."""

    def uniform(self, a: float, b: float) -> float:
        """Far above the upper bound."""
        del a
        return b + LIMIT_S


def states(resources: Resources) -> list[str]:
    """Of all jobs."""
    with resources.database.read() as session:
        return list(session.scalars(select(Job.state).order_by(Job.id)))
