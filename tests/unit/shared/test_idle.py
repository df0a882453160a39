"""Idle SQLite connections: used again, never by two at once, no more kept than allowed, all closed in the end."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, text

from shared.db.engine import Database, make_engine
from shared.db.idle import MOST_IDLE, IdleStack


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A file of this test's own."""
    made = make_engine(f"sqlite:///{tmp_path / 'idle.db'}")
    yield made
    made.dispose()


def count_opened(engine: Engine) -> list[sqlite3.Connection]:
    """The connections opened from now on."""
    opened: list[sqlite3.Connection] = []
    event.listen(engine, "connect", lambda connection, _record: opened.append(connection))
    return opened


def test_transactions_one_after_the_other_share_a_connection(engine: Engine) -> None:
    """From any thread; a read and a write too."""
    opened, database = count_opened(engine), Database(engine)

    def use() -> None:
        with database.begin() as session:
            session.execute(text("CREATE TABLE IF NOT EXISTS t (n INTEGER)"))
        with database.read() as session:
            session.execute(text("SELECT * FROM t"))

    for _ in range(3):
        use()
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(opened) == 1


def test_two_at_once_never_share_one(engine: Engine) -> None:
    """Eight threads in transactions at the same moment: eight connections."""
    opened, database = count_opened(engine), Database(engine)
    together = threading.Barrier(8, timeout=60)

    def read() -> int:
        with database.read() as session:
            session.execute(text("SELECT 1"))
            together.wait()
            return id(session.connection().connection.driver_connection)

    with ThreadPoolExecutor(8) as pool:
        used = list(pool.map(lambda _: read(), range(8)))
    assert len(set(used)) == len(opened) == 8


def test_no_more_than_a_few_stay_open(engine: Engine) -> None:
    """What comes back to a full stack is closed."""
    opened = count_opened(engine)
    with ExitStack() as stack:
        for _ in range(MOST_IDLE + 3):
            stack.enter_context(engine.connect())
    assert engine.pool.status() == f"{MOST_IDLE} idle"
    assert sum(is_closed(connection) for connection in opened) == 3


def test_all_are_closed_in_the_end(engine: Engine) -> None:
    """Disposing closes what is idle, and what follows opens anew."""
    opened = count_opened(engine)
    with engine.connect():
        pass
    engine.dispose()
    assert [is_closed(connection) for connection in opened] == [True]
    with engine.connect():
        assert isinstance(engine.pool, IdleStack)
    assert len(opened) == 2


def test_a_connection_comes_back_without_its_transaction(engine: Engine) -> None:
    """A failed statement leaves nothing behind for whoever is next."""
    database = Database(engine)
    with database.begin() as session:
        session.execute(text("CREATE TABLE t (n INTEGER)"))

    def fail() -> None:
        with database.begin() as session:
            session.execute(text("INSERT INTO t VALUES (1)"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.begin() as session:
        assert session.scalar(text("SELECT count(*) FROM t")) == 0


def is_closed(connection: sqlite3.Connection) -> bool:
    """True where it takes no statement any more."""
    try:
        connection.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return True
    return False
