"""Lists and counts of jobs: right on both databases, and as quick in a long table as in a short one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from shared.db import jobs, queries
from shared.db.engine import Database, make_engine
from shared.domain import JobState, Verdict
from shared.wire import ListQuery
from tests.api import make_tenant
from tests.jobs import claim, claimant, finish, make_job

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
        (lambda sql: queries.list_jobs(sql, "default", ListQuery()), {"SEARCH jobs USING INDEX ix_jobs_tenant_id"}),
    ],
    ids=["counts", "state", "verdict", "all"],
)
def test_no_other_row_is_looked_at(sqlite_url: str, ask: Callable[[Session], object], steps: set[str]) -> None:
    """By SQLite's own plan: jobs are found by an index in the order that is shown, and nothing is sorted."""
    database = Database(make_engine(sqlite_url))
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
    assert not [plan for plan in plans if "TEMP B-TREE" in plan]
