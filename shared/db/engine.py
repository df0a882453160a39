"""The database as one object: `begin()` for short writing transactions, `read()` for reading ones.

The differences between SQLite and PostgreSQL live here and nowhere else: pragmas and locking of the one, time
limits of the other, and how each tells the time. Leases are measured by the database's clock only.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, cast

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.orm import Session

from shared import private_files
from shared.db.group_commit import GroupCommit
from shared.db.idle import IdleStack
from shared.errors import DatabaseDown, InvalidRequest, NotFound, StorageFull
from shared.greenlets import make_native_lock
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.db.postgres import BoundedConnection

SQLITE_BUSY_S = 10.0
"""How long a writer waits for SQLite's single write lock before it gives up."""

MOST_WAL_BYTES = 64 * 2**20
"""journal_size_limit: the WAL file is truncated to this size after a checkpoint; otherwise it keeps its peak size."""

STATEMENT_TIMEOUT_MS = 15_000
"""PostgreSQL cancels a statement after this: all are short by design."""

DISK_FULL, READ_ONLY, NOT_MIGRATED = "53100", "25006", frozenset({"42P01", "42703"})
"""SQLSTATEs of PostgreSQL: disk full; read-only transaction, as on a standby; undefined table or column."""

Sql = Session | Connection
"""An open transaction; a query that loads no mapped object takes either type."""

Clock = Callable[[Sql], datetime]


def database_clock(sql: Sql) -> datetime:
    """Return the database's own time, aware, UTC; SQLite has no clock but the machine's, so that is read directly."""
    if dialect_of(sql) == "sqlite":
        return datetime.now(UTC)
    now: datetime = sql.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now.astimezone(UTC)


def dialect_of(sql: Sql) -> str:
    """Return the name of the dialect, 'sqlite' or 'postgresql'."""
    return (sql if isinstance(sql, Connection) else sql.get_bind()).dialect.name


def lift_time_limit(sql: Sql) -> None:
    """Lift the time limits of this transaction's statements and of the pauses between them, to scan whole tables."""
    if dialect_of(sql) == "postgresql":
        connection = sql if isinstance(sql, Connection) else sql.connection()
        cast("BoundedConnection", connection.connection.driver_connection).limit_s = None
        sql.execute(text("SET LOCAL statement_timeout = 0"))
        sql.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


def make_engine(url: str) -> Engine:
    """Return an engine for either database; it connects at first use only.

    Raises:
        InvalidRequest: the URL has a parameter that PostgreSQL does not know.
    """
    if make_url(url).get_backend_name() == "sqlite":
        return _sqlite_engine(url)
    from shared.db import postgres  # noqa: PLC0415  its driver loads where it is needed

    postgres.check_parameters(make_url(url))
    engine = create_engine(
        url,
        pool_size=5,
        max_overflow=15,
        pool_timeout=5,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "client_encoding": "utf8",  # a database in SQL_ASCII, initdb's default under LANG=C, would give bytes
            "connect_timeout": 3,
            "keepalives_idle": 10,
            "tcp_user_timeout": 20_000,  # ms; detects a host that vanished without closing the connection
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c idle_in_transaction_session_timeout=30000",
        },
    )
    postgres.bound(engine)
    return engine


def _sqlite_engine(url: str) -> Engine:
    database = make_url(url).database
    if database:
        private_files.make_folder(Path(database).parent)
    engine = create_engine(
        url,
        poolclass=IdleStack,
        hide_parameters=True,
        connect_args={"timeout": SQLITE_BUSY_S, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # `_begin_sqlite` issues BEGIN
    _use_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON", f"journal_size_limit={MOST_WAL_BYTES}"):
        connection.execute(f"PRAGMA {pragma}").close()


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL, with retries: of two processes that open a new file at once SQLite fails one without waiting."""
    give_up_at = time.monotonic() + SQLITE_BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once in writing transactions: a later upgrade could not wait for it."""
    if connection.get_execution_options().get("plainfilm_read", False):
        driver = cast("sqlite3.Connection", connection.connection.driver_connection)
        driver.execute("BEGIN").close()  # takes no lock yet; through SQLAlchemy it would take longer than the query
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


class Database:
    """Transactions on one database.

    Args:
        engine: from `make_engine`.
        clock: returns the time inside a transaction; tests pass their own.

    Attributes:
        group: lets small writes that come at the same time share a transaction.
    """

    def __init__(self, engine: Engine, clock: Clock = database_clock) -> None:
        self.engine = engine
        self.now = clock
        one_snapshot = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}  # SQLite's always is
        self.group = GroupCommit(make_native_lock if self.is_sqlite else threading.Lock)  # see web/offload.py
        self._reader = engine.execution_options(plainfilm_read=True, **one_snapshot)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database, whose calls block their thread."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """Open a writing transaction: committed at the end of the block, rolled back by an exception.

        Raises:
            DatabaseDown: the database cannot be reached, or its write lock was not free in time.
        """
        with _translated(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def begin_core(self) -> Iterator[Connection]:
        """As `begin`, without SQLAlchemy's session, which takes longer than SQLite: for the statements of each film."""
        with _translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read_core(self) -> Iterator[Connection]:
        """As `read`, without SQLAlchemy's session: see `begin_core`."""
        with _translated(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a reading transaction on one snapshot; never waits for SQLite's writer."""
        with _translated(), Session(self._reader, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close pooled connections."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        """Return the database; the end of the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def build_database(settings: Settings) -> Database:
    """Return the database that the settings name.

    Raises:
        InvalidRequest: its URL cannot be parsed.
    """
    try:
        return Database(make_engine(settings.sql_url))
    except ArgumentError:
        raise InvalidRequest("PLAINFILM_DATABASE_URL is not the URL of a supported database.") from None


def open_database(settings: Settings) -> Database:
    """Return the database for a command that must not create one: an SQLite file must exist.

    Raises:
        NotFound: it does not exist.
        InvalidRequest: as of `build_database`.
    """
    if is_missing_file(settings.sql_url):
        if settings.database_url is not None:
            raise NotFound("No database at PLAINFILM_DATABASE_URL; change it or run `plainfilm up`.")
        raise NotFound(f"No database in {settings.home}; set PLAINFILM_HOME or run `plainfilm up`.")
    return build_database(settings)


def is_missing_file(url: str) -> bool:
    """Return whether the URL names an SQLite file that does not exist, which connecting would create."""
    file = sqlite_file(url)
    return file is not None and not file.exists()


def sqlite_file(url: str) -> Path | None:
    """Return the file of an SQLite database, from any form of its URL; None for any other database."""
    try:
        parsed = make_url(url)
    except ArgumentError:  # `build_database` raises for it
        return None
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


@contextmanager
def _translated() -> Iterator[None]:
    """Raise `DatabaseDown` for a connection that is lost, refused or timed out, and for a schema not migrated yet.

    Other errors are bugs of this code and pass unchanged.
    """
    try:
        yield
    except (OperationalError, PoolExhausted) as error:
        if _is_full(error):
            raise StorageFull("The database has no room left; tell its operator, and try again later.") from error
        why = why_down(error)
        raise DatabaseDown(_say_down(why), why=why) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseDown("The database connection was lost; try again shortly.") from error
        if _sqlstate(error) in NOT_MIGRATED:  # SQLite's is an OperationalError
            raise DatabaseDown(NOT_SET_UP, why=NO_TABLES) from error
        if _sqlstate(error) == READ_ONLY:
            raise DatabaseDown("The database takes no changes; try again shortly.", why=NO_CHANGES) from error
        if _sqlite_code(error) == sqlite3.SQLITE_NOTADB:
            raise DatabaseDown("The database cannot be used.", why="the file is no SQLite database") from error
        raise


NOT_SET_UP: Final = "The database is not set up yet; try again shortly."
NO_TABLES: Final = "it lacks tables or columns of this build: run `plainfilm up` or `plainfilm db upgrade`"

NO_CHANGES: Final = "it is read-only: a standby, or set so"
NO_SLOTS: Final = "it has reached its limit of connections (max_connections)"
ENDED: Final = "PostgreSQL ended the connection"

REFUSALS: Final = {
    "password authentication failed": "PostgreSQL refuses the user's password: check both in PLAINFILM_DATABASE_URL",
    "no password supplied": "PostgreSQL asks for a password, and PLAINFILM_DATABASE_URL has none",
    "authentication failed for user": "PostgreSQL lets this user log in by another way only: see its pg_hba.conf",
    "pg_hba.conf": "PostgreSQL takes no connection of this user to this database from here: see its pg_hba.conf",
    "is not permitted to log in": "PostgreSQL does not let this user log in (NOLOGIN): check PLAINFILM_DATABASE_URL",
    "is not currently accepting connections": "the database is closed to connections (ALLOW_CONNECTIONS)",
    "permission denied for database": "the user may not connect to the database (GRANT CONNECT)",
    'FATAL:  role "': "PostgreSQL knows no such user: check PLAINFILM_DATABASE_URL",
    'FATAL:  database "': "PostgreSQL has no such database: check PLAINFILM_DATABASE_URL, or create it",
    "server does not support SSL": "it has no TLS, and PLAINFILM_DATABASE_URL asks for it by sslmode",
}
"""Reasons that last until somebody changes something, in the form of `REASONS`; the more special words come first."""

REASONS: Final = {
    **REFUSALS,
    "failed to resolve host": "its host is unknown",
    "Connection refused": "nothing listens at its host and port",
    "timeout expired": "its host does not answer in time",
    "has not answered in time": "it accepts connections but does not answer: it, or its disk, hangs",
    "too many clients": NO_SLOTS,
    "connection slots are reserved": NO_SLOTS,
    "too many connections for": "the user or the database has reached its own limit of connections (CONNECTION LIMIT)",
    "database system is": "PostgreSQL is starting or stopping",
    "terminating connection": ENDED,
    "server closed the connection": ENDED,
    "unable to open database file": "the file cannot be opened",
    "readonly database": NO_CHANGES,
    "no such table": NO_TABLES,
    "no such column": NO_TABLES,
    "has no column named": NO_TABLES,
    "due to lock timeout": "another session holds a lock on it: stop what is still using the database, and try again",
}
"""Reasons by a part of the driver's message: before a connection is established there is no SQLSTATE. No reason repeats
any part of the address."""


def _say_down(why: str | None) -> str:
    """Return the sentence for clients: to try again is of no use where the database refuses the connection."""
    if why == NO_TABLES:
        return NOT_SET_UP
    is_refused = why in REFUSALS.values()
    return "The database refuses the connection." if is_refused else "The database does not answer; try again shortly."


def why_down(error: Exception) -> str | None:
    """Return the reason why the database is down, for the operator; None where the driver's message is not known."""
    message = str(getattr(error, "orig", None) or "")
    return next((why for words, why in REASONS.items() if words in message), None)


def _is_full(error: Exception) -> bool:
    """Return whether the disk is full: SQLITE_FULL (13), or PostgreSQL's disk_full."""
    return _sqlite_code(error) == sqlite3.SQLITE_FULL or _sqlstate(error) == DISK_FULL


def _sqlite_code(error: Exception) -> int:
    """Return SQLite's error code; 0 on PostgreSQL."""
    return int(getattr(getattr(error, "orig", None), "sqlite_errorcode", 0))


def _sqlstate(error: Exception) -> str:
    """Return PostgreSQL's SQLSTATE; '' on SQLite."""
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")
