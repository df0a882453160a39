"""Films that are classified again: the film of an ended job, and the origin of a job made from another. Reads only.

The origin stands in the job's 'accepted' event and in no column: both jobs name the same film by its digest, and the
origin may be deleted while the later job stays (DECISIONS 64).
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
    """Return the film of an ended job, in whichever state it ended.

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
    """Return the id of the job whose film this one classifies again; None for a job whose film was uploaded."""
    accepted = (AuditEvent.subject == job_id) & (AuditEvent.action == "accepted")
    body = sql.scalar(select(AuditEvent.body).where(accepted))
    origin: str | None = json.loads(body)["facts"].get("again_of") if body else None
    return origin


def find_waiting(sql: Sql, tenant: str, input_sha256: str, job_id: str) -> str | None:
    """Return the id of the newest job of the same film that came after this one and has not ended, if any."""
    has_not_ended = Job.state.in_([state.value for state in JobState if not state.is_terminal])  # few: uses the index
    same = (Job.tenant == tenant) & (Job.input_sha256 == input_sha256) & (Job.id > job_id)
    return sql.scalar(select(Job.id).where(has_not_ended, same).order_by(Job.id.desc()).limit(1))
