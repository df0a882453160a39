"""The database as one object: short transactions, readers that never wait, faults that say what is away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import create_engine, event, insert, make_url, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from shared.db.engine import (
    MOST_WAL_BYTES,
    Database,
    build_database,
    is_missing_file,
    lift_time_limit,
    make_engine,
    open_database,
    sqlite_file,
    why_down,
)
from shared.db.tables import Lock, table_of
from shared.errors import DatabaseDown, InvalidRequest, NotFound, StorageFull, explain
from shared.settings import Settings
from tests.waiting import wait_until

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    """A migrated database."""
    opened = Database(make_engine(sqlite_url))
    yield opened
    opened.close()


def locks(database: Database) -> list[str]:
    """Names of what was written."""
    with database.read() as session:
        return list(session.scalars(select(Lock.name)))


def test_a_block_is_a_transaction(database: Database) -> None:
    """Written at its end, undone by an exception."""
    with database.begin() as session:
        session.add(Lock(name="kept", owner="a", until=NOW))
    with pytest.raises(ZeroDivisionError), database.begin() as session:  # noqa: PT012  the write before the fault
        session.add(Lock(name="undone", owner="a", until=NOW))
        session.flush()
        raise ZeroDivisionError
    assert locks(database) == ["kept"]


def test_a_reader_does_not_wait_for_the_writer(database: Database) -> None:
    """And does not see what is not committed."""
    with database.begin() as session:
        session.add(Lock(name="x", owner="a", until=NOW))
        session.flush()
        assert locks(database) == []
    assert locks(database) == ["x"]


def test_the_log_shrinks_once_who_read_beside_many_writes_has_ended(tmp_path: Path) -> None:
    """It takes room that the limit of free bytes does not see."""
    file = tmp_path / "log.db"
    with Database(make_engine(f"sqlite:///{file}")) as database:
        run(database, "CREATE TABLE notes (body BLOB)")
        with database.read() as session:
            session.execute(text("SELECT count(*) FROM notes"))
            for _ in range(80):
                run(database, "INSERT INTO notes VALUES (zeroblob(1048576))")
            assert log_bytes(file) > MOST_WAL_BYTES + 2**20
        for _ in range(3):
            run(database, "INSERT INTO notes VALUES (1)")
        assert log_bytes(file) <= MOST_WAL_BYTES


def run(database: Database, sql: str) -> None:
    """In a transaction of its own."""
    with database.begin() as session:
        session.execute(text(sql))


def log_bytes(file: Path) -> int:
    """Of SQLite's write-ahead log beside its file."""
    return file.with_name(f"{file.name}-wal").stat().st_size


def test_an_error_says_nothing_of_what_was_written(database: Database) -> None:
    """It goes to the log, and a webhook's secret may be among it."""
    with pytest.raises(IntegrityError) as caught, database.begin() as session:
        session.execute(insert(table_of(Lock)), [{"name": "secret", "owner": "a", "until": NOW}] * 2)
    assert "INSERT INTO locks" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_second_writer_is_told_when_it_waited_in_vain(sqlite_url: str, database: Database) -> None:
    """SQLite has one write lock: DatabaseDown, to be tried again."""
    impatient = Database(make_engine(sqlite_url))
    event.listen(impatient.engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=0"))
    with database.begin() as session:
        session.add(Lock(name="x", owner="a", until=NOW))
        session.flush()
        with pytest.raises(DatabaseDown) as caught, impatient.begin() as other:
            other.add(Lock(name="y", owner="b", until=NOW))
    assert caught.value.retryable
    impatient.close()


def test_waiting_in_vain_for_a_connection_is_the_same(sqlite_url: str) -> None:
    """All connections of the pool are taken: 503 for the request, not a fault."""
    full = Database(create_engine(sqlite_url, pool_size=1, max_overflow=0, pool_timeout=0.01))
    with full.read() as session:
        session.scalars(select(Lock.name)).all()
        with pytest.raises(DatabaseDown), full.read() as other:
            other.scalars(select(Lock.name)).all()
    full.close()


def test_a_full_disk_is_told_as_such(sqlite_url: str) -> None:
    """SQLite at the most pages that it may have: `storage_full`, and what was there stays readable."""
    small = Database(make_engine(sqlite_url))
    event.listen(small.engine, "connect", lambda made, _record: made.execute("PRAGMA max_page_count = 1").close())
    with pytest.raises(StorageFull), small.begin() as session:
        session.execute(text("CREATE TABLE ballast AS SELECT zeroblob(10000000)"))
    with small.read() as session:
        assert session.scalar(text("SELECT count(*) FROM tenants")) == 1


def test_a_fault_of_ours_stays_what_it_is(database: Database) -> None:
    """A doubled key is no outage."""
    with database.begin() as session:
        session.add(Lock(name="x", owner="a", until=NOW))
    with pytest.raises(IntegrityError), database.begin() as session:
        session.add(Lock(name="x", owner="b", until=NOW))


@pytest.mark.parametrize("url", ["nonsense", "", "mysterious://h/d", "://"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    """By its variable, without what was in it."""
    with pytest.raises(InvalidRequest, match="PLAINFILM_DATABASE_URL") as caught:
        build_database(Settings.model_construct(database_url=SecretStr(url)))
    assert not url or url not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "why", "said"),
    [
        ({"database": "nope"}, "no such database", "refuses"),
        ({"username": "nobody-of-that-name"}, "no such user", "refuses"),
        ({"host": "127.0.0.1", "port": 1, "query": {}}, "nothing listens", "try again shortly"),
        ({"host": "no.such.host.invalid", "query": {}}, "host is unknown", "try again shortly"),
    ],
)
@pytest.mark.enable_socket
def test_what_stands_between_us_and_postgresql_is_told(
    postgres_url: str, change: dict[str, object], why: str, said: str
) -> None:
    """To the operator; a client is told only whether it helps to try again. Nobody is told the password."""
    url = make_url(postgres_url).set(**{"password": "s3cret", **change}).render_as_string(hide_password=False)
    away = Database(make_engine(url))
    with pytest.raises(DatabaseDown) as caught, away.begin_core():
        pass
    assert why in explain(caught.value)
    assert why not in caught.value.detail
    assert said in caught.value.detail
    assert "s3cret" not in explain(caught.value)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("FATAL:  sorry, too many clients already", "max_connections"),
        (
            "FATAL:  remaining connection slots are reserved for non-replication superuser connections",
            "max_connections",
        ),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", "max_connections"),
        ('FATAL:  too many connections for role "plainfilm"', "CONNECTION LIMIT"),
        ('FATAL:  too many connections for database "plainfilm"', "CONNECTION LIMIT"),
        ("FATAL:  the database system is starting up", "starting or stopping"),
        ("FATAL:  the database system is shutting down", "starting or stopping"),
        ("FATAL:  the database system is in recovery mode", "starting or stopping"),
        ("FATAL:  the database system is not yet accepting connections", "starting or stopping"),
        ("terminating connection due to administrator command", "ended the connection"),
        ("server closed the connection unexpectedly", "ended the connection"),
        ('FATAL:  Peer authentication failed for user "plainfilm"', "by another way only"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.7", user "plainfilm", database "plainfilm"', "pg_hba.conf"),
        ('FATAL:  pg_hba.conf rejects connection for host "10.0.0.7", user "plainfilm"', "pg_hba.conf"),
        ('FATAL:  role "plainfilm" is not permitted to log in', "NOLOGIN"),
        ('FATAL:  database "plainfilm" is not currently accepting connections', "ALLOW_CONNECTIONS"),
        ('FATAL:  permission denied for database "plainfilm"', "GRANT CONNECT"),
    ],
)
def test_what_postgresql_says_of_itself_is_told(message: str, why: str) -> None:
    """To a user without rights of its own a full server says that the last slots are reserved."""
    error = OperationalError("SELECT 1", None, Exception(message))
    assert why in str(why_down(error))


@pytest.mark.enable_socket
def test_a_server_that_takes_no_more_connections_of_a_user_is_told(postgres_url: str) -> None:
    """As PostgreSQL itself says it: the operator raises the limit, or ends something."""
    name = f"few_{make_url(postgres_url).database}"
    owner = Database(make_engine(postgres_url))
    with owner.begin_core() as sql:
        sql.exec_driver_sql(f"CREATE ROLE {name} LOGIN CONNECTION LIMIT 0")
    few = Database(make_engine(make_url(postgres_url).set(username=name).render_as_string(hide_password=False)))
    try:
        with pytest.raises(DatabaseDown) as caught, few.begin_core():
            pass
        assert "CONNECTION LIMIT" in explain(caught.value)
    finally:
        few.close()
        with owner.begin_core() as sql:
            sql.exec_driver_sql(f"DROP ROLE {name}")
        owner.close()


def test_a_walk_through_whole_tables_may_take_its_time(postgres_url: str) -> None:
    """Of PostgreSQL, and between two statements; the next transaction has its limits again."""
    limits = "statement_timeout", "idle_in_transaction_session_timeout"
    database = Database(make_engine(postgres_url))
    with database.read() as session:
        lift_time_limit(session)
        assert [session.scalar(text(f"SHOW {limit}")) for limit in limits] == ["0", "0"]
    with database.read() as session:
        assert [session.scalar(text(f"SHOW {limit}")) for limit in limits] == ["15s", "30s"]
    database.close()


def test_a_database_that_takes_no_changes_is_one_that_is_away(postgres_url: str) -> None:
    """A standby that has not taken over yet: who writes may try again, and whoever may read goes on."""
    options = make_url(postgres_url).update_query_dict({"options": "-c default_transaction_read_only=on"})
    database = Database(make_engine(postgres_url))
    standby = Database(create_engine(options))
    with database.begin() as session:
        session.execute(text("CREATE TABLE IF NOT EXISTS standby_test (id integer)"))
    try:
        with standby.read_core() as sql:
            assert sql.execute(text("SELECT id FROM standby_test")).all() == []
        with pytest.raises(DatabaseDown) as caught, standby.begin_core() as sql:
            sql.execute(text("INSERT INTO standby_test VALUES (1)"))
        assert "read-only" in explain(caught.value)
    finally:
        standby.close()
        with database.begin() as session:
            session.execute(text("DROP TABLE standby_test"))
        database.close()


def test_a_parameter_that_is_not_known_is_named_before_anything_is_asked() -> None:
    """Each connection would fail of it, and none of the database."""
    with pytest.raises(InvalidRequest, match="colour, which PostgreSQL does not know"):
        make_engine("postgresql+psycopg://u@127.0.0.1/x?sslmode=prefer&colour=red")
    with pytest.raises(InvalidRequest, match="sslmode more than once"):
        make_engine("postgresql+psycopg://u@127.0.0.1/x?sslmode=prefer&sslmode=require")
    with pytest.raises(InvalidRequest, match="%40") as caught:
        make_engine("postgresql+psycopg://u:p@ss?secret=word@127.0.0.1/x")
    assert "secret" not in caught.value.detail
    make_engine("postgresql+psycopg://u@/x?host=a:5432&host=b:5432")
    make_engine("postgresql+psycopg://u@127.0.0.1/x?sslmode=prefer&application_name=y&host=/tmp")


def test_a_wrong_password_is_told(postgres_url: str) -> None:
    """As PostgreSQL says it, where it asks for one at all."""
    database = Database(make_engine(postgres_url))
    with database.begin() as session:
        session.execute(text("CREATE ROLE locked LOGIN PASSWORD 'right'"))
        hba = Path(session.scalar(text("SHOW hba_file")))
    try:
        rules = hba.read_text()
        hba.write_text(f"local all locked scram-sha-256\nhost all locked all scram-sha-256\n{rules}")
    except OSError:
        pytest.skip("the server's rules are not ours to change")
    try:
        _reload(postgres_url)
        for password, why in (("wr0ng", "refuses the user's password"), (None, "asks for a password")):
            url = make_url(postgres_url).set(username="locked", password=password)
            locked = Database(make_engine(url.render_as_string(hide_password=False)))
            with pytest.raises(DatabaseDown) as caught, locked.begin_core():
                pass
            assert explain(caught.value).startswith("The database refuses the connection. (PostgreSQL ")
            assert why in explain(caught.value)
            assert "wr0ng" not in explain(caught.value)
    finally:
        hba.write_text(rules)
        _reload(postgres_url)
        with database.begin() as session:
            session.execute(text("DROP ROLE locked"))
        database.close()


def _reload(url: str) -> None:
    """Until connections are made by the new rules: each has its time from the server's first process."""
    before = _ask(url, "SELECT pg_conf_load_time()")
    assert _ask(url, "SELECT pg_reload_conf()")
    wait_until(lambda: _ask(url, "SELECT pg_conf_load_time()") > before, "the rules to be read")


def _ask(url: str, question: str) -> Any:  # Any: whatever it is
    fresh = Database(make_engine(url))
    with fresh.read() as session:
        answer = session.scalar(text(question))
    fresh.close()
    return answer


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    """In a sentence, not as a traceback."""
    (tmp_path / "x.db").write_text("nothing of that kind " * 100)
    with pytest.raises(DatabaseDown) as caught, Database(make_engine(f"sqlite:///{tmp_path / 'x.db'}")).begin_core():
        pass
    assert explain(caught.value) == "The database cannot be used. (the file is no SQLite database)"


def test_the_databases_clock_is_aware_and_in_utc(database: Database) -> None:
    """Within the minute of this machine's, since it is the same machine."""
    with database.read() as session:
        told = database.now(session)
    assert told.utcoffset() == timedelta(0)
    assert abs(told - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_naive_time_is_refused(database: Database) -> None:
    """A moment without its zone has no place in a row."""
    with pytest.raises(Exception, match="naive datetime"), database.begin() as session:
        session.add(Lock(name="x", owner="a", until=NOW.replace(tzinfo=None)))


def test_a_time_comes_back_as_it_was(database: Database) -> None:
    """Whatever zone it was told in."""
    there = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    with database.begin() as session:
        session.add(Lock(name="x", owner="a", until=there))
    with database.read() as session:
        found = session.get_one(Lock, "x").until
    assert (found, found.tzinfo) == (NOW, UTC)


def test_a_new_file_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    """SQLite fails some of those that make it a write-ahead file at one moment; none of ours notices."""
    together = threading.Barrier(8)

    def use(url: str) -> None:
        opened = Database(make_engine(url))
        together.wait()
        with opened.begin() as session:
            session.execute(text("CREATE TABLE IF NOT EXISTS used (at TEXT)"))
        opened.close()

    with ThreadPoolExecutor(8) as pool:
        for number in range(40):
            list(pool.map(use, [f"sqlite:///{tmp_path / str(number)}.db"] * 8))


@pytest.mark.parametrize("start", ["sqlite:///", "sqlite+pysqlite:///"])
@pytest.mark.parametrize("end", ["", "?timeout=5"])
def test_a_missing_file_is_known_by_every_form_of_its_address(tmp_path: Path, start: str, end: str) -> None:
    """A command that only looks would make it else."""
    file = tmp_path / "plainfilm.db"
    url = f"{start}{file}{end}"
    assert sqlite_file(url) == file
    assert is_missing_file(url)
    with pytest.raises(NotFound):
        open_database(Settings(home=tmp_path, database_url=SecretStr(url)))
    assert not file.exists()
    file.touch()
    assert not is_missing_file(url)


@pytest.mark.parametrize("url", ["postgresql+psycopg://x@127.0.0.1/y", "sqlite://", "no address"])
def test_other_databases_have_no_file_to_miss(url: str) -> None:
    """Whoever connects to them is told what is wrong."""
    assert sqlite_file(url) is None
    assert not is_missing_file(url)
