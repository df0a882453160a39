"""Rows that were changed behind the audit's back, on both databases: each is found, and named."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from shared.db import audit_rows, deletions, jobs
from shared.db.audit_rows import Difference
from shared.db.engine import Database
from shared.db.keys import Principal
from shared.db.tables import Job, Result
from shared.domain import JobState, Role
from tests.jobs import claim, finish, make_job

pytestmark = pytest.mark.integration


@pytest.fixture
def answered(database: Database) -> str:
    """One of many jobs in all states: the one that succeeded last."""
    made = [make_job(database) for _ in range(4)]
    with jobs.changing(database) as changes:
        changes.cancel("default", made[0], "key:testkey")
    for held in claim(database):
        finish(database, held)
    make_job(database)
    failing = claim(database)[0]
    with jobs.changing(database) as changes:
        changes.fail(failing, "worker:w1", "blob_missing", "The stored film is missing.")
    make_job(database)
    gone = make_job(database)
    with jobs.changing(database) as changes:
        deletions.delete_job(changes, Principal("k", "default", Role.ADMIN), gone)
    return made[-1]


def check(database: Database) -> tuple[int, Difference | None]:
    """As the command does."""
    with database.read() as session:
        return audit_rows.compare(session)


def test_what_the_service_wrote_agrees(database: Database, answered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting, answered, copied, cancelled, failed; batch by batch. What was deleted is not missed."""
    assert check(database) == (6, None)
    monkeypatch.setattr(audit_rows, "BATCH", 2)
    assert check(database) == (6, None)
    assert answered


def lose(session: Session, job_id: str) -> None:
    """Take the job away, and say nothing of it."""
    session.execute(delete(Result).where(Result.job_id == job_id))
    session.execute(delete(Job).where(Job.id == job_id))


def change_result(**values: object) -> object:
    """Another result."""
    return lambda session, job_id: session.execute(update(Result).where(Result.job_id == job_id).values(**values))


def change_job(**values: object) -> object:
    """Another job."""
    return lambda session, job_id: session.execute(update(Job).where(Job.id == job_id).values(**values))


@pytest.mark.parametrize(
    ("deed", "problem"),
    [
        (change_result(verdict="covid19"), "its verdict is 'covid19', the audit says 'normal'"),
        (change_result(saliency=b"another"), "its saliency map is not the one that was stored"),
        (change_job(input_sha256="0" * 64), "its input_sha256 is "),
        (change_job(state=JobState.CANCELLED), "it is cancelled, the audit left it succeeded"),
        (lambda session, id_: session.execute(delete(Result).where(Result.job_id == id_)), "it has no result"),
        (lose, "it was accepted, and has neither a row nor a note of its deletion"),
    ],
)
def test_what_was_changed_behind_its_back_is_found(
    database: Database, answered: str, deed: object, problem: str
) -> None:
    """The first job that does not agree is named with what differs."""
    with database.begin() as session:
        assert callable(deed)
        deed(session, answered)
    _, found = check(database)
    assert found is not None
    assert found.job_id == answered
    assert found.problem.startswith(problem)
