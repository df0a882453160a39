"""Migrations on both databases: up, down and up again; and the models are what the migrations make."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import IntegrityError

from shared.db import (
    audit,
    audit_comparison,
    engine,
    explanation_queries,
    explanations,
    jobs,
    keys,
    migrate,
    queries,
    reviews,
    schema,
)
from shared.db.engine import Database, make_engine
from shared.db.keys import Principal
from shared.db.tables import Base, Job
from shared.domain import ReaderLabel, Role, Verdict
from shared.errors import Conflict, DatabaseDown, InvalidRequest, explain
from shared.wire import ListQuery
from shared.wiring import new_job_id
from tests.explanations import make_explanation, make_map_record, make_result, take
from tests.jobs import claim, finish, make_batch, make_job
from tests.postgres import administer, named

pytestmark = pytest.mark.integration

SLOW_RESULTS = """
CREATE FUNCTION take_a_second() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NEW; END';
CREATE TRIGGER slow BEFORE UPDATE ON results FOR EACH ROW EXECUTE FUNCTION take_a_second();
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without our tables."""
    if request.param == "sqlite":
        database = Database(make_engine(f"sqlite:///{tmp_path / 'deep' / 'empty.db'}"))
    else:
        database = Database(make_engine(request.getfixturevalue("postgres_url")))
        migrate.downgrade(database, "base")
    yield database
    database.close()


def test_the_schema_goes_up_down_and_up_again(empty: Database) -> None:
    """Each step leaves exactly the tables it should."""
    migrate.upgrade(empty)
    assert schema.current_revision(empty) == schema.HEAD
    assert set(Base.metadata.tables) <= set(inspect(empty.engine).get_table_names())
    migrate.downgrade(empty, "base")
    assert set(inspect(empty.engine).get_table_names()) <= {"alembic_version"}
    migrate.upgrade(empty)
    with empty.read() as session:
        assert session.execute(text("SELECT id FROM tenants")).scalars().all() == ["default"]


def test_the_models_equal_the_migrations(empty: Database) -> None:
    """Autogenerate finds nothing left to do; of SQLite's defaults it does not see an empty text."""
    migrate.upgrade(empty)
    with empty.engine.connect() as connection:
        opts = {"compare_type": True, "compare_server_default": not empty.is_sqlite}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, Base.metadata) == []


def test_upgrading_twice_changes_nothing(empty: Database) -> None:
    """Every start of the service migrates; the second time is a no-op."""
    migrate.upgrade(empty)
    migrate.upgrade(empty)
    with empty.read() as session:
        assert session.execute(text("SELECT count(*) FROM audit_heads")).scalar() == 1


def test_results_of_before_are_found_by_their_verdict(empty: Database) -> None:
    """Revision 0007 tells each whose it is."""
    migrate.upgrade(empty)
    job_id = make_job(empty)
    finish(empty, *claim(empty), verdict="covid19")
    migrate.downgrade(empty, "0006")
    migrate.upgrade(empty)
    with empty.read() as session:
        found = queries.list_jobs(session, "default", ListQuery(verdict=Verdict.COVID19))
    assert [job.id for job in found.jobs] == [job_id]


def test_batches_come_and_go_beside_the_jobs(empty: Database) -> None:
    """Revision 0012: jobs of before are in none; the way back keeps the jobs, and the next way up finds them so."""
    migrate.upgrade(empty, "0011")
    migrate.upgrade(empty)
    job_id = make_job(empty, batch_id=make_batch(empty))
    migrate.downgrade(empty, "0011")
    assert "batches" not in inspect(empty.engine).get_table_names()
    migrate.upgrade(empty)
    with empty.read() as session:
        assert queries.get_job(session, "default", job_id).batch_id is None


def test_reviews_come_and_go_beside_the_results(empty: Database) -> None:
    """Revision 0013: the way back forgets them and keeps results and audit; the next way up finds none."""
    migrate.upgrade(empty)
    job_id = make_job(empty)
    finish(empty, *claim(empty))
    reader = Principal("readerkey", "default", Role.REVIEWER)
    with jobs.changing(empty) as changes:
        reviews.review(changes, reader, job_id, ReaderLabel.NORMAL)
    migrate.downgrade(empty, "0012")
    assert "reviews" not in inspect(empty.engine).get_table_names()
    migrate.upgrade(empty)
    with empty.read() as session:
        assert reviews.list_reviews(session, "default", job_id).reviews == []
        assert queries.get_job(session, "default", job_id).result
        assert audit.verify(session)[1] is None


def index_names(database: Database, table: str) -> set[str | None]:
    """The names of a table's indexes."""
    return {index["name"] for index in inspect(database.engine).get_indexes(table)}


def test_explanations_that_were_made_are_called_succeeded(empty: Database) -> None:
    """Revision 0017, there and back: rows, maps and indexes stay; then the other word is refused."""
    migrate.upgrade(empty)
    job_id = make_result(empty)
    make_explanation(empty, job_id)
    make_explanation(empty, job_id, method="smooth_grad")
    order = take(empty)
    assert order is not None
    with explanations.changing(empty) as changes:
        changes.finish(order.held, "w1", make_map_record())
    before = index_names(empty, "explanations")
    migrate.downgrade(empty, "0016")
    states = text("SELECT state FROM explanations ORDER BY method")
    with empty.read() as session:
        assert session.scalars(states).all() == ["done", "queued"]
    migrate.upgrade(empty)
    with empty.read() as session:
        assert session.scalars(states).all() == ["succeeded", "queued"]
        assert explanation_queries.get_map(session, "default", job_id, "gradient")
    assert index_names(empty, "explanations") == before != set()
    with pytest.raises(IntegrityError), empty.begin() as session:
        session.execute(text("UPDATE explanations SET state = 'done' WHERE state = 'succeeded'"))


def test_a_migration_may_take_its_time(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit on a statement is for requests: a long table would never get past it."""
    database = Database(make_engine(postgres_url))
    make_job(database)
    finish(database, *claim(database))
    migrate.downgrade(database, "0006")
    with database.begin() as session:
        session.execute(text(SLOW_RESULTS))
    monkeypatch.setattr(engine, "STATEMENT_TIMEOUT_MS", 500)
    limited = Database(make_engine(postgres_url))
    with pytest.raises(DatabaseDown), limited.begin() as session:
        session.execute(text("UPDATE results SET verdict = 'normal'"))
    migrate.upgrade(limited)
    assert schema.current_revision(database) == schema.HEAD
    limited.close()
    database.close()


def test_a_request_before_the_tables_may_come_again(empty: Database) -> None:
    """503, reading or writing: a web process may be up before its database is."""
    for transaction in (empty.read, empty.begin):
        with pytest.raises(DatabaseDown), transaction() as session:
            session.execute(select(Job.id))
    migrate.upgrade(empty)
    with empty.read() as session:
        assert session.execute(select(Job.id)).all() == []


def test_a_request_before_an_upgrade_may_come_again(empty: Database) -> None:
    """503 as well where tables are there and a column is not; who looks at the chain is told what to do."""
    migrate.upgrade(empty)
    make_job(empty)
    migrate.downgrade(empty, "0011")
    for look in (lambda session: queries.list_jobs(session, "default", ListQuery()), audit_comparison.compare):
        with pytest.raises(DatabaseDown) as caught, empty.read() as session:
            look(session)
        assert "run `plainfilm up` or `plainfilm db upgrade`" in explain(caught.value)
    with pytest.raises(DatabaseDown):
        make_job(empty)


def test_a_newer_schema_is_refused_and_left_alone(empty: Database) -> None:
    """What to do is said, and nothing is changed: another build's data lies there."""
    migrate.upgrade(empty)
    with empty.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Conflict, match=f"at schema 9999, .* up to {schema.HEAD}"):
        migrate.upgrade(empty)
    assert schema.current_revision(empty) == "9999"
    with empty.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": schema.HEAD})
    with pytest.raises(InvalidRequest, match=f"no schema 9999.* up to {schema.HEAD}"):
        migrate.upgrade(empty, "9999")


@pytest.fixture
def encoded(postgres_server: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty PostgreSQL database in the encoding that the test names."""
    name = f"encoded_{new_job_id().replace('-', '')}"
    administer(postgres_server, f"CREATE DATABASE {name} ENCODING '{request.param}' LOCALE 'C' TEMPLATE template0")
    database = Database(make_engine(named(postgres_server, name)))
    yield database
    database.close()
    administer(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("encoded", ["SQL_ASCII"], indirect=True)
def test_a_database_without_an_encoding_will_do(encoded: Database) -> None:
    """What initdb makes where no language is set: its driver gave bytes, and nothing worked."""
    migrate.upgrade(encoded)
    with encoded.begin() as session:
        keys.make_tenant(session, "clinic", encoded.now(session))
    with encoded.read() as session:
        assert "clinic" in keys.list_tenants(session)


@pytest.mark.parametrize("encoded", ["LATIN1"], indirect=True)
def test_a_database_that_lacks_characters_is_refused(encoded: Database) -> None:
    """It says how to make one that has them."""
    with pytest.raises(Conflict, match=r"LATIN1.*ENCODING 'UTF8'"):
        migrate.upgrade(encoded)
    assert not inspect(encoded.engine).get_table_names()
