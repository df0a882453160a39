"""A film that is classified again: the job that it is taken from, and which job a job is of. Reads only.

That a job is of another one is told by the event that accepted it, and by no column: both name the same film by its
digest, and the other job may be deleted while this one stays (DECISIONS 64).
"""

from __future__ import annotations

import json

from sqlalchemy import select

from shared.db.answers import FILM, StoredFilm, to_film
from shared.db.engine import Sql
from shared.db.queries import missing
from shared.db.tables import AuditEvent, Job
from shared.domain import JobState
from shared.errors import Conflict


def get_ended_film(sql: Sql, tenant: str, job_id: str) -> StoredFilm:
    """The film of a job that has ended, whatever its end was.

    Raises:
        JobNotFound: unknown, of another tenant, or deleted (`JobDeleted`).
        Conflict: it has not ended.
    """
    row = sql.execute(select(*FILM, Job.state).where(Job.id == job_id, Job.tenant == tenant)).first()
    if row is None:
        raise missing(sql, tenant, job_id)
    if not JobState(row.state).is_terminal:
        raise Conflict("The job has not ended; wait for its answer, or cancel it first.")
    return to_film(row)


def find_origin(sql: Sql, job_id: str) -> str | None:
    """The id of the job whose film this one classifies again; None for one that was sent."""
    accepted = (AuditEvent.subject == job_id) & (AuditEvent.action == "accepted")
    body = sql.scalar(select(AuditEvent.body).where(accepted))
    origin: str | None = json.loads(body)["facts"].get("again_of") if body else None
    return origin


def find_waiting(sql: Sql, tenant: str, input_sha256: str, job_id: str) -> str | None:
    """The newest job after this one of the same film that has not ended, if any."""
    on_the_way = Job.state.in_([state.value for state in JobState if not state.is_terminal])  # few: as the index has it
    same = (Job.tenant == tenant) & (Job.input_sha256 == input_sha256) & (Job.id > job_id)
    return sql.scalar(select(Job.id).where(on_the_way, same).order_by(Job.id.desc()).limit(1))
