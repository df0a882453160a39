"""Stored answers: a result for the same bytes, of the same tenant, by the model that serves now. Reads only.

The serving model is the one that all live workers report in their heartbeats. Where they report several, or none,
nothing is answered from the store: it is unknown which of them would have answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, ScalarSelect, bindparam, func, literal_column, select

from shared.db.engine import Sql
from shared.db.tables import Job, Model, Result, WorkerHeartbeat
from shared.db.worker_queries import alive_since, takes_films
from shared.domain import FilmFacts
from shared.version import CODE_VERSION


@dataclass(frozen=True, slots=True)
class StoredFilm:
    """The film of a job, to be copied for another job; `blob_ref` names its blob."""

    job_id: str
    blob_ref: str
    facts: FilmFacts


@dataclass(frozen=True, slots=True)
class ServingModel:
    """The model that serves: the SHA-256 of its weights, its name and version."""

    sha256: str
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class NewerAnswer:
    """A later answer to a film: its job, and the SHA-256 of the model that gave it."""

    job_id: str
    model_sha256: str


FILM: Final = (
    Job.id, Job.blob_ref, Job.kind, Job.mode, Job.bit_depth, Job.width_px, Job.height_px, Job.input_sha256,
    Job.pixels_sha256,
)  # fmt: skip
"""The columns that `to_film` reads, in its order."""


def find_answered(sql: Sql, now: datetime, tenant: str, input_sha256: str) -> StoredFilm | None:
    """Return the film of the newest job that a worker answered for the same bytes with the model and code of now."""
    parameters = {"tenant": tenant, "input_sha256": input_sha256, "alive_since": alive_since(now)}
    row = sql.execute(_NEWEST_ANSWER, parameters).first()
    return to_film(row) if row else None


def to_film(row: Row[*tuple[Any, ...]]) -> StoredFilm:
    """Return the film of a row that begins with the columns `FILM`; Any: each of its own type."""
    job_id, blob_ref, *facts = row[: len(FILM)]
    return StoredFilm(job_id, blob_ref, FilmFacts(*facts))


def find_serving(sql: Sql, now: datetime) -> ServingModel | None:
    """Return the model that all live workers have loaded; None where they differ or none is alive."""
    row = sql.execute(_SERVING, {"alive_since": alive_since(now)}).first()
    return ServingModel(*row) if row else None


def find_newer(sql: Sql, tenant: str, input_sha256: str, job_id: str) -> NewerAnswer | None:
    """Return the newest later job in which a worker answered the same film, if any."""
    parameters = {"tenant": tenant, "input_sha256": input_sha256, "job_id": job_id}
    row = sql.execute(_NEWER_ANSWER, parameters).first()
    return NewerAnswer(*row) if row else None


def _serving_model() -> ScalarSelect[str]:
    """Select the SHA-256 of the weights that all live workers have loaded; NULL where they differ or none is alive."""
    loaded = WorkerHeartbeat.model_sha256
    alive = takes_films(bindparam("alive_since"))
    return select(func.max(loaded)).where(alive).having(func.count(loaded.distinct()) == 1).scalar_subquery()


_ANSWERED = (
    (Job.tenant == bindparam("tenant"))
    & (Job.input_sha256 == bindparam("input_sha256"))
    & (Job.state == literal_column("'succeeded'"))  # both written as in the condition of `ix_jobs_answered`
    & (Job.attempt > literal_column("0"))  # a copy is never copied: the trail leads to the answer itself
)

_NEWEST_ANSWER = (
    select(*FILM)
    .join(Result, Result.job_id == Job.id)
    .where(_ANSWERED, Result.model_sha256 == _serving_model(), Result.code_version == CODE_VERSION)
    .order_by(Job.id.desc())
    .limit(1)
)
"""Built once: that takes longer than executing it, and each upload does."""

_SERVING = select(Model.weights_sha256, Model.name, Model.version).where(Model.weights_sha256 == _serving_model())

_NEWER_ANSWER = (
    select(Job.id, Result.model_sha256)
    .join(Result, Result.job_id == Job.id)
    .where(_ANSWERED, Job.id > bindparam("job_id"))
    .order_by(Job.id.desc())
    .limit(1)
)
