"""Reviews on SQLite and on a real PostgreSQL: what stands, what the chain keeps, what goes, and who is counted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from shared import wire
from shared.db import audit, audit_comparison, deletions, jobs, review_queries, reviews
from shared.db.audit_comparison import Difference
from shared.db.engine import Database
from shared.db.keys import Principal
from shared.db.tables import AuditEvent, Result, Review
from shared.domain import ReaderLabel, Role, Verdict
from shared.errors import Conflict, Forbidden, InvalidRequest, JobDeleted, JobNotFound
from tests.api import make_tenant
from tests.api_cases import UNKNOWN
from tests.fakes import FixedClock
from tests.jobs import claim, finish, make_job, register_model
from tests.statements import statements

pytestmark = pytest.mark.integration

READER = Principal("readerkey", "default", Role.REVIEWER)
ADMIN = Principal("adminkey", "default", Role.ADMIN)


def answer(database: Database, verdict: str = "normal", tenant: str = "default") -> str:
    """A job with this verdict."""
    job_id = make_job(database, tenant=tenant)
    finish(database, claim(database)[0], verdict=verdict)
    return job_id


def say(database: Database, job_id: str, label: str = "normal", who: Principal = READER) -> wire.Review:
    """As a reader does."""
    with jobs.changing(database) as changes:
        return reviews.review(changes, who, job_id, ReaderLabel(label))


def standing(database: Database, job_id: str) -> list[tuple[str, str, bool | None]]:
    """(reader, label, agrees) of the reviews that stand; the chain holds, and the rows agree with it."""
    with database.read() as session:
        assert audit.verify(session)[1] is None
        assert audit_comparison.compare(session)[1] is None
        found = reviews.list_reviews(session, "default", job_id).reviews
        return [(each.reader, each.label.value, each.agrees) for each in found]


def told(database: Database, job_id: str) -> list[str]:
    """The actions of a job's audit events since it was answered."""
    with database.read() as session:
        mine = select(AuditEvent.action).where(AuditEvent.subject == job_id).order_by(AuditEvent.seq)
        return list(session.scalars(mine))[3:]


def test_one_review_a_reader_stands_and_the_chain_keeps_all(database: Database, clock: FixedClock) -> None:
    """The second takes the first one's place; another reader's stays beside it; another job has none."""
    job_id, other = answer(database), answer(database)
    assert say(database, job_id, "covid19").agrees is False
    clock.advance(60)
    assert say(database, job_id, "not_assessable", ADMIN).agrees is False
    clock.advance(60)
    now = say(database, job_id, "normal")
    assert (now.agrees, now.created_at) == (True, clock.now)
    assert standing(database, job_id) == [("adminkey", "not_assessable", False), ("readerkey", "normal", True)]
    assert standing(database, other) == []
    assert told(database, job_id) == ["reviewed"] * 3
    with database.read() as session:
        answered = select(AuditEvent.hash).where(AuditEvent.subject == job_id, AuditEvent.action == "succeeded")
        assert now.result_sha256 == session.scalar(answered)


def test_the_same_said_again_changes_nothing(database: Database, clock: FixedClock) -> None:
    """Of a double click one event and the first moment stay, also where both come at once."""
    job_id = answer(database)
    first = say(database, job_id)
    clock.advance(60)
    assert say(database, job_id) == first
    other = answer(database)
    with ThreadPoolExecutor(4) as pool:
        assert len({each.created_at for each in pool.map(lambda _: say(database, other), range(4))}) == 1
    assert told(database, job_id) == told(database, other) == ["reviewed"]


@pytest.mark.parametrize("verdict", ["uncertain", "not_assessable"])
def test_an_abstention_is_neither_right_nor_wrong(database: Database, verdict: str) -> None:
    """Whatever the reader sees, the same word included."""
    for label in ("normal", "not_assessable"):
        assert say(database, answer(database, verdict), label).agrees is None


def test_only_reviewers_and_admins_review_and_only_what_was_answered(database: Database) -> None:
    """Nothing is written else: no row and no event."""
    job_id, waiting = answer(database), make_job(database)
    for role in (Role.UPLOADER, Role.AUDITOR):
        with pytest.raises(Forbidden):
            say(database, job_id, who=Principal("k", "default", role))
    with pytest.raises(Conflict, match="The job is queued and has no result"):
        say(database, waiting)
    assert told(database, job_id) == []
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Review)) == 0


def test_a_label_that_the_model_does_not_know_is_no_answer(database: Database) -> None:
    """A reader who sees it sees another finding."""
    job_id = answer(database)
    with database.begin() as session:
        session.execute(update(Result).values(probabilities={"covid19": 0.2, "normal": 0.8}))
    with pytest.raises(InvalidRequest, match="no label viral_pneumonia; use one of: covid19, normal, not_assessable"):
        say(database, job_id, "viral_pneumonia")
    assert say(database, job_id, "other_finding").agrees is False


def test_foreign_unknown_and_deleted_jobs_are_not_reviewed(database: Database) -> None:
    """A foreign one is an unknown one; a deleted one says so; both to who says and to who lists."""
    make_tenant(database, "clinic")
    job_id, gone = answer(database), answer(database)
    with jobs.changing(database) as changes:
        deletions.delete_job(changes, ADMIN, gone)
    stranger = Principal("theirs", "clinic", Role.ADMIN)
    for who, of_job, error in (
        (stranger, job_id, JobNotFound),
        (READER, UNKNOWN, JobNotFound),
        (READER, gone, JobDeleted),
    ):
        with pytest.raises(error):
            say(database, of_job, who=who)
        with pytest.raises(error), database.read() as session:
            reviews.list_reviews(session, who.tenant, of_job)


def test_reviews_go_with_their_job_and_their_events_stay(database: Database) -> None:
    """Of another job they stay."""
    job_id, kept = answer(database), answer(database)
    for of_job in (job_id, kept):
        say(database, of_job)
    with jobs.changing(database) as changes:
        deletions.delete_job(changes, ADMIN, job_id)
    assert standing(database, kept) == [("readerkey", "normal", True)]
    assert told(database, job_id) == ["reviewed", "deleted"]
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Review)) == 1


def test_a_deletion_and_a_review_at_once_come_one_after_the_other(database: Database) -> None:
    """Either the review goes with the job, or its reader learns that the job is gone; nobody gets a fault."""

    def remove(job_id: str) -> str:
        with jobs.changing(database) as changes:
            return deletions.delete_job(changes, ADMIN, job_id).id

    def try_to_say(job_id: str) -> str:
        with suppress(JobDeleted):
            say(database, job_id)
        return job_id

    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            job_id = answer(database)
            both = [pool.submit(try_to_say, job_id), pool.submit(remove, job_id)]
            assert {done.result() for done in both} == {job_id}
            assert told(database, job_id)[-1] == "deleted"
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Review)) == 0
        assert audit.verify(session)[1] is None
        assert audit_comparison.compare(session) == (0, None)


def test_a_review_costs_seven_statements_and_two_said_again(database: Database) -> None:
    """The answer, what stood, the row, what stands, three of the chain; the clock is the test's."""
    job_id = answer(database)
    for expected in (7, 2):
        with statements(database) as found:
            say(database, job_id)
        assert len(found) == expected, "\n".join(found)


def test_readings_are_counted_by_model_and_tenant(database: Database) -> None:
    """By verdict and label; of films with a label each is counted once, however many readers it had."""
    make_tenant(database, "clinic")
    films = [answer(database), answer(database, "covid19"), answer(database, "uncertain")]
    theirs = answer(database, tenant="clinic")
    say(database, theirs, who=Principal("theirs", "clinic", Role.REVIEWER))
    for job_id in films:
        say(database, job_id)
    say(database, films[0], "other_finding", ADMIN)
    with database.read() as session:
        found = review_queries.count_readings(session, "default", register_model(database))
        assert found.films == 2
        assert found.counts == {
            (Verdict.NORMAL, ReaderLabel.NORMAL): 1,
            (Verdict.NORMAL, ReaderLabel.OTHER_FINDING): 1,
            (Verdict.COVID19, ReaderLabel.NORMAL): 1,
            (Verdict.UNCERTAIN, ReaderLabel.NORMAL): 1,
        }
        assert review_queries.count_readings(session, "clinic", register_model(database)).films == 1
        assert review_queries.count_readings(session, "default", "0" * 64) == review_queries.Readings({}, 0)


# -- rows that were changed behind the audit's back --------------------------------------------------------------------


def change(**values: object) -> object:
    """Another review."""
    return lambda session, job_id: session.execute(update(Review).where(Review.job_id == job_id).values(**values))


def add(session: Session, job_id: str) -> None:
    """One that nobody gave."""
    row = session.scalars(select(Review).where(Review.job_id == job_id)).one()
    kept = {column.key: getattr(row, column.key) for column in Review.__table__.columns}
    session.execute(insert(Review), [{**kept, "reader": "nobody"}])


@pytest.mark.parametrize(
    ("deed", "problem"),
    [
        (change(label="normal"), "label of its review of readerkey is 'normal', the audit says 'covid19'"),
        (change(verdict="covid19"), "verdict of its review of readerkey is 'covid19'"),
        (change(result_sha256="0" * 64), "result_sha256 of its review of readerkey is '000"),
        (change(tenant="other"), "its review of readerkey is of other"),
        (change(reader="other"), "it has a review of other, the audit has none"),
        (change(created_at=FixedClock().now.replace(year=2020)), "at of its review of readerkey is '2020"),
        (add, "it has a review of nobody, the audit has none"),
        (lambda session, id_: session.execute(delete(Review).where(Review.job_id == id_)), "it has no review of key:"),
    ],
)
def test_a_review_that_was_changed_in_its_row_is_found(database: Database, deed: object, problem: str) -> None:
    """The job is named, and what differs; of what was said the last counts."""
    job_id = answer(database)
    for label in ("normal", "covid19"):
        say(database, job_id, label)
    standing(database, job_id)
    with database.begin() as session:
        assert callable(deed)
        deed(session, job_id)
    with database.read() as session:
        _, found = audit_comparison.compare(session)
    assert isinstance(found, Difference)
    assert (found.job_id, found.problem[: len(problem)]) == (job_id, problem)


def test_a_review_of_another_answer_than_the_audits_is_found(database: Database) -> None:
    """Even where row and event of the review say the same."""
    job_id = answer(database)
    say(database, job_id)
    other = {
        "label": "normal",
        "verdict": "normal",
        "model_sha256": register_model(database),
        "result_sha256": "0" * 64,
    }
    with jobs.changing(database) as changes:
        changes.sql.execute(update(Review).values(**other, created_at=changes.now))
        changes.record("default", "key:readerkey", "reviewed", job_id, **other)
    with database.read() as session:
        _, found = audit_comparison.compare(session)
    assert found is not None
    assert found.problem.startswith("result_sha256 of its review of readerkey is '000")
