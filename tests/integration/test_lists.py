"""Lists and counts of jobs: right on both databases, and as quick in a long table as in a short one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from shared.db import batches, jobs, queries, queue_queries
from shared.db.answers import find_answered
from shared.db.engine import Database, make_engine
from shared.db.tables import Batch
from shared.domain import JobState, Priority, Verdict, first_id_at
from shared.wire import ListQuery
from tests.api import make_tenant
from tests.api_cases import UNKNOWN
from tests.fakes import FixedClock
from tests.jobs import claim, claimant, finish, make_batch, make_job

pytestmark = pytest.mark.integration


def test_counts_are_of_one_tenant_and_name_every_state(database: Database) -> None:
    """Two queued, one cancelled; what another tenant has plays no part."""
    first, *_ = (make_job(database) for _ in range(3))
    make_tenant(database, "clinic")
    make_job(database, tenant="clinic")
    with jobs.changing(database) as changes:
        changes.cancel("default", first, "key:testkey")
    with database.read() as session:
        found = queries.count_by_state(session, "default")
    assert found == {**dict.fromkeys(JobState, 0), JobState.QUEUED: 2, JobState.CANCELLED: 1}


def test_counting_stops(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """One beyond the most: that there are more is known, how many is not asked."""
    monkeypatch.setattr(queries, "MOST_COUNTED", 2)
    for _ in range(5):
        make_job(database)
    with database.read() as session:
        assert queries.count_by_state(session, "default")[JobState.QUEUED] == 3


def test_a_list_of_one_state_is_the_newest_first(database: Database) -> None:
    """Whatever lies between them; a page ends where it should."""
    made = [make_job(database) for _ in range(6)]
    claim(database, claimant(limit=2))  # the two oldest
    with database.read() as session:
        page = queries.list_jobs(session, "default", ListQuery(status=JobState.QUEUED, limit=3))
        rest = queries.list_jobs(session, "default", ListQuery(status=JobState.QUEUED, cursor=page.next_cursor))
    assert [job.id for job in page.jobs + rest.jobs] == made[:1:-1]
    assert rest.next_cursor is None


def test_a_list_of_one_verdict_is_the_newest_first(database: Database) -> None:
    """A page ends where it should; another tenant's films and other verdicts play no part."""
    make_tenant(database, "clinic")
    tenants = ["default"] * 3 + ["clinic"] + ["default"] * 2
    made = [make_job(database, tenant=tenant) for tenant in tenants]
    verdicts = ["normal", "covid19", "normal", "normal", "normal", "uncertain"]
    of_job = dict(zip(made, verdicts, strict=True))
    for held in claim(database):
        finish(database, held, verdict=of_job[held.id])
    with database.read() as session:
        page = queries.list_jobs(session, "default", ListQuery(verdict=Verdict.NORMAL, limit=2))
        rest = queries.list_jobs(session, "default", ListQuery(verdict=Verdict.NORMAL, cursor=page.next_cursor))
        none = queries.list_jobs(session, "default", ListQuery(verdict=Verdict.NORMAL, status=JobState.FAILED))
    assert [job.id for job in page.jobs + rest.jobs] == [made[4], made[2], made[0]]
    assert (rest.next_cursor, none.jobs) == (None, [])


def test_a_list_of_a_time_holds_what_was_made_then(
    database: Database, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its first moment on and before its last, by the row's time: its id is made some seconds before."""
    start = datetime(2026, 11, 1, 12, tzinfo=UTC)
    made = []
    for minute in range(5):
        clock.now = start + timedelta(minutes=minute)
        id_ = first_id_at(clock.now - timedelta(seconds=90))
        monkeypatch.setattr("tests.jobs.new_job_id", lambda id_=id_: id_[:-1] + "7")
        made.append(make_job(database))
    for held in claim(database):
        finish(database, held)
    span = {"since": start + timedelta(minutes=1), "until": start + timedelta(minutes=4)}
    with database.read() as session:
        page = queries.list_jobs(session, "default", ListQuery(limit=2, **span))
        rest = queries.list_jobs(session, "default", ListQuery(limit=2, cursor=page.next_cursor, **span))
        normal = queries.list_jobs(session, "default", ListQuery(verdict=Verdict.NORMAL, **span))
        ever = queries.list_jobs(session, "default", ListQuery(since=datetime(1900, 1, 1, tzinfo=UTC)))
    assert [job.id for job in page.jobs + rest.jobs] == [job.id for job in normal.jobs] == made[3:0:-1]
    assert len(ever.jobs) == 5


def test_a_place_in_the_queue_counts_what_is_claimed_before(database: Database) -> None:
    """All of more urgent classes, and what came earlier in its own."""
    order = ["routine", "bulk", "stat", "routine", "bulk", "routine"]
    made = [make_job(database, priority=Priority(name)) for name in order]

    def places() -> list[int | None]:
        with database.read() as session:
            return [queries.get_job(session, "default", job_id).queue_position for job_id in made]

    assert places() == [1, 4, 0, 2, 5, 3]
    claim(database, claimant(limit=1))
    assert places() == [0, 3, None, 1, 4, 2]


@pytest.mark.parametrize(
    ("ask", "steps"),
    [
        (lambda sql: queries.count_by_state(sql, "default"), {"SEARCH jobs USING COVERING INDEX ix_jobs_state"}),
        (
            lambda sql: queries.list_jobs(sql, "default", ListQuery(status=JobState.FAILED)),
            {"SEARCH jobs USING INDEX ix_jobs_state"},
        ),
        (
            lambda sql: queries.list_jobs(sql, "default", ListQuery(verdict=Verdict.UNCERTAIN, cursor="0" * 36)),
            {"SEARCH results USING INDEX ix_results_verdict", "SEARCH jobs USING INDEX sqlite_autoindex_jobs_1"},
        ),
        *(
            (
                lambda sql, more=more: queries.list_jobs(sql, "default", ListQuery(batch=UNKNOWN, **more)),
                {"SEARCH jobs USING INDEX ix_jobs_batch"},
            )
            for more in ({}, {"status": JobState.FAILED}, {"verdict": Verdict.UNCERTAIN, "cursor": UNKNOWN})
        ),
        (
            lambda sql: batches.get_batch(sql, "default", sql.scalar(select(Batch.id)) or ""),
            {"SEARCH jobs USING INDEX ix_jobs_batch"},
        ),
        (lambda sql: queries.list_jobs(sql, "default", ListQuery()), {"SEARCH jobs USING INDEX ix_jobs_tenant_id"}),
        (
            lambda sql: find_answered(sql, datetime.now(UTC), "default", "0" * 64),
            {"SEARCH jobs USING INDEX ix_jobs_answered"},
        ),
        (
            lambda sql: queries.get_job(sql, "default", queries.list_jobs(sql, "default", ListQuery()).jobs[0].id),
            {"SEARCH jobs USING INDEX ix_jobs_due"},
        ),
        (
            lambda sql: queue_queries.needs_sweep(sql, datetime.now(UTC) - timedelta(hours=1), 10.0),
            {f"SEARCH jobs USING INDEX ix_jobs_{name}" for name in ("leases", "expiry", "unrung")},
        ),
        (queue_queries.count_queued, {"SEARCH jobs USING COVERING INDEX ix_jobs_state"}),
    ],
    ids=[
        "counts",
        "state",
        "verdict",
        "batch",
        "batch and state",
        "batch and verdict",
        "batch's counts",
        "all",
        "the answer to a film",
        "a place in the queue",
        "sweep",
        "backlog",
    ],
)
def test_no_other_row_is_looked_at(sqlite_url: str, ask: Callable[[Session], object], steps: set[str]) -> None:
    """By SQLite's own plan, with no statistics of the tables: an index in the order that is shown, nothing sorted."""
    database = Database(make_engine(sqlite_url))
    make_job(database, batch_id=make_batch(database))
    plans: list[str] = []

    def explain(_connection: object, cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.startswith("SELECT"):
            plans.extend(row[3] for row in cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

    event.listen(database.engine, "before_cursor_execute", explain)
    with database.read() as session:
        ask(session)
    database.close()
    assert steps <= {plan.partition(" (")[0] for plan in plans}
    assert not [plan for plan in plans if plan.startswith(("SCAN jobs", "SCAN results"))]
    assert not [plan for plan in plans if "TEMP B-TREE FOR ORDER BY" in plan]
