"""What PostgreSQL chooses where its statistics are of an empty queue, and its indexes have grown in earlier ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from shared.db import claim_order, queries, queue_queries
from shared.db.engine import Database, make_engine
from shared.db.gauges import read_gauges
from shared.db.jobs import JobChanges
from shared.domain import Priority
from tests.api import make_tenant
from tests.jobs import claimant, make_job

pytestmark = [pytest.mark.integration, pytest.mark.slow]

INDEX = re.compile(
    r"(?:Index Scan|Index Only Scan|Bitmap Index Scan)(?: Backward)? (?:using|on) "
    r"(ix_jobs_(?:line|due|unrung|expiry|leases|state))"
)
MOST = 5_000
MORE = text(
    "INSERT INTO jobs SELECT (jsonb_populate_record(j, jsonb_build_object('id', :prefix || lpad(n::text, 12, '0'),"
    " 'idempotency_key', NULL, 'priority', n % 3))).* FROM jobs j, generate_series(1, :n) n WHERE j.id = :id"
)


@pytest.fixture
def aged(postgres_url: str) -> Iterator[Database]:
    """A queue that was full, was emptied and looked at, and is filled anew."""
    database = Database(make_engine(postgres_url))
    make_tenant(database, "clinic")
    make_tenant(database, "nobody")
    fill(database, "1", 20_000)
    ended = "state = 'succeeded', attempt = 1, started_at = created_at, finished_at = now() - interval '1 day'"
    run(database, f"UPDATE jobs SET {ended}")  # noqa: S608  ours
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ALTER TABLE jobs SET (autovacuum_enabled = off)"))
        connection.execute(text("VACUUM ANALYZE jobs"))
    fill(database, "2", MOST)
    yield database
    database.close()


def fill(database: Database, number: str, count: int) -> None:
    """That many queued films more of one tenant, of all classes."""
    job_id = make_job(database, tenant="clinic")
    with database.begin() as session:
        session.execute(MORE, {"prefix": f"0000000{number}-0000-7000-8000-", "n": count, "id": job_id})


def run(database: Database, sql: str) -> None:
    """In a transaction of its own."""
    with database.begin() as session:
        session.execute(text(sql))


def claim_next(sql: Session, database: Database) -> object:
    """The films that a worker would be given."""
    return claim_order.pick(sql, claimant(limit=16), database.now(sql))


def find_place(sql: Session, _database: Database) -> object:
    """Where a film of the least urgent class stands."""
    found = queries.get_job(sql, "clinic", f"00000002-0000-7000-8000-{MOST:012}")
    assert found.queue_position == queries.MAX_POSITION
    return found


def needs_sweep(sql: Session, database: Database) -> object:
    """As an idle worker asks."""
    return queue_queries.needs_sweep(sql, database.now(sql) - timedelta(hours=1), 10.0)


def change(sql: Session, database: Database) -> JobChanges:
    """As a sweeper does."""
    return JobChanges(sql.connection(), database.now(sql))


ASKED: Mapping[str, tuple[Callable[[Session, Database], object], set[str]]] = {
    "claim": (claim_next, {"ix_jobs_line"}),
    "claim, all of it": (lambda sql, database: change(sql, database).claim(claimant(limit=16)), {"ix_jobs_line"}),
    "backlog": (lambda sql, _database: queue_queries.count_queued(sql), {"ix_jobs_line"}),
    "poll": (
        lambda sql, database: queue_queries.has_due(sql, database.now(sql), tuple(Priority)),
        {"ix_jobs_due", "ix_jobs_state"},
    ),
    "place": (find_place, {"ix_jobs_due"}),
    "sweep": (needs_sweep, {"ix_jobs_leases", "ix_jobs_expiry", "ix_jobs_unrung"}),
    "sweep's rings": (lambda sql, database: change(sql, database).mark_rung(10.0, 100), {"ix_jobs_unrung"}),
    "sweep's ends": (lambda sql, database: change(sql, database).expire_due(), {"ix_jobs_expiry"}),
    "gauges": (lambda sql, database: read_gauges(sql, database.now(sql)), {"ix_jobs_due", "ix_jobs_leases"}),
}
"""What asks of films that wait, and the indexes of such films that it may go by."""


def test_a_stale_look_at_the_queue_leads_to_no_other_index(aged: Database) -> None:
    """By that of what is unrung a claim read all that waited, once a tenant and class, and was ended by its limit."""
    plans: list[str] = []

    def explain(_connection: object, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if "jobs" in statement and statement.startswith(("SELECT", "UPDATE", "WITH")):
            with cursor.connection.cursor() as beside:
                plans.extend(row[0] for row in beside.execute(f"EXPLAIN {statement}", parameters))

    event.listen(aged.engine, "before_cursor_execute", explain)
    for name, (ask, indexes) in ASKED.items():
        plans.clear()
        with aged.begin() as session:
            ask(session, aged)
        found = {index for plan in plans for index in INDEX.findall(plan)}
        assert found, name
        assert found <= indexes, (name, plans)
        assert not [plan for plan in plans if "Seq Scan on jobs" in plan], (name, plans)
