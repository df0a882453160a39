"""Rows that were changed behind the audit's back, on both databases: each is found, and named."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import delete, insert, update
from sqlalchemy.orm import Session

from shared.db import audit_comparison, deletions, jobs
from shared.db.audit_comparison import Difference
from shared.db.engine import Database
from shared.db.keys import Principal
from shared.db.tables import DeletedJob, Job, Result
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
        return audit_comparison.compare(session)


@pytest.mark.usefixtures("answered")
def test_what_the_service_wrote_agrees(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting, answered, copied, cancelled, failed; batch by batch. What was deleted is not missed."""
    assert check(database) == (6, None)
    monkeypatch.setattr(audit_comparison, "BATCH", 2)
    assert check(database) == (6, None)


def lose(session: Session, job_id: str) -> None:
    """Take the job away, and say nothing of it."""
    session.execute(delete(Result).where(Result.job_id == job_id))
    session.execute(delete(Job).where(Job.id == job_id))


def lose_with_a_note(session: Session, job_id: str) -> None:
    """And leave the note that a deletion leaves."""
    lose(session, job_id)
    session.add(DeletedJob(id=job_id, tenant="default", deleted_at=datetime(2026, 1, 1, tzinfo=UTC)))


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
        (change_job(batch_id="0" * 36), "its batch_id is '000"),
        (change_job(state=JobState.CANCELLED), "it is cancelled, the audit left it succeeded"),
        (lambda session, id_: session.execute(delete(Result).where(Result.job_id == id_)), "it has no result"),
        (lose, "it was accepted and never deleted, and has no row"),
        (lose_with_a_note, "it was accepted and never deleted, and has no row"),
        (change_result(border_share=0.9), "its border_share is 0.9"),
        (change_job(owner="other"), "it is of default and sent by key:other"),
        (change_result(tenant="other"), "its result is of other"),
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


def test_a_failed_jobs_code_is_compared(database: Database) -> None:
    """What was wrong with a film is no detail."""
    failing = make_job(database)
    held = claim(database)[0]
    with jobs.changing(database) as changes:
        changes.fail(held, "worker:w1", "blob_missing", "The stored film is missing.")
    with database.begin() as session:
        session.execute(update(Job).where(Job.id == failing).values(error_code="poisoned"))
    _, found = check(database)
    assert found == Difference(failing, "its error_code is 'poisoned', the audit says 'blob_missing'")


def test_a_deleted_job_that_is_there_again_is_found(database: Database) -> None:
    """Its rows put back, as from a backup."""
    job_id = make_job(database)
    with database.read() as session:
        row = session.get_one(Job, job_id)
        kept = {column.key: getattr(row, column.key) for column in Job.__table__.columns}
    with jobs.changing(database) as changes:
        deletions.delete_job(changes, Principal("k", "default", Role.ADMIN), job_id)
    with database.begin() as session:
        session.execute(insert(Job), [kept])
    assert check(database)[1] == Difference(job_id, "it was deleted, and is there")
