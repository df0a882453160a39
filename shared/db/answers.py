"""Is the answer to a film stored already: the same bytes, the same tenant, the model that serves now. Reads only.

Which model serves is what the living workers say of themselves. Where they say several, or none, nothing is answered
from the store: nobody could say which of them would have answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ScalarSelect, bindparam, func, literal_column, select

from shared.db.engine import Sql
from shared.db.queries import alive_since, takes_films
from shared.db.tables import Job, Result, WorkerHeartbeat
from shared.domain import FilmFacts
from shared.version import CODE_VERSION


@dataclass(frozen=True, slots=True)
class Answered:
    """A job whose result answers the same film again; `blob_ref` is where its film lies."""

    job_id: str
    blob_ref: str
    facts: FilmFacts


def find_answered(sql: Sql, now: datetime, tenant: str, input_sha256: str) -> Answered | None:
    """The newest job that a worker answered for the same bytes with what serves now, if any."""
    sought = {"tenant": tenant, "input_sha256": input_sha256, "alive_since": alive_since(now)}
    job = sql.execute(_NEWEST_ANSWER, sought).first()
    if job is None:
        return None
    facts = FilmFacts(job.kind, job.mode, job.bit_depth, job.width_px, job.height_px, input_sha256, job.pixels_sha256)
    return Answered(job.id, job.blob_ref, facts)


def _serving_model() -> ScalarSelect[str]:
    """The SHA-256 of the weights that all living workers have loaded; NULL where they differ or none lives."""
    loaded = WorkerHeartbeat.model_sha256
    alive = takes_films(bindparam("alive_since"))
    return select(func.max(loaded)).where(alive).having(func.count(loaded.distinct()) == 1).scalar_subquery()


_NEWEST_ANSWER = (
    select(Job.id, Job.blob_ref, Job.kind, Job.mode, Job.bit_depth, Job.width_px, Job.height_px, Job.pixels_sha256)
    .join(Result, Result.job_id == Job.id)
    .where(
        Job.tenant == bindparam("tenant"),
        Job.input_sha256 == bindparam("input_sha256"),
        Job.state == literal_column("'succeeded'"),  # both as the index has them
        Job.attempt > literal_column("0"),  # a copy is never copied: the trail leads to the answer itself
        Result.model_sha256 == _serving_model(),
        Result.code_version == CODE_VERSION,
    )
    .order_by(Job.id.desc())
    .limit(1)
)
"""Put together once: that takes longer than to ask it, and each upload does."""
