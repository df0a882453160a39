"""A PostgreSQL that takes connections and answers nothing: whoever asks is told so in time, and goes on afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from shared.db import postgres
from shared.db.engine import STATEMENT_TIMEOUT_MS, Database, lift_time_limit, make_engine
from shared.db.postgres import BoundedConnection
from shared.errors import DatabaseDown, explain
from tests.relay import Relay, relaying
from tests.waiting import wait_until

SHORT_S = 0.3


@pytest.fixture
def relay(postgres_url: str) -> Iterator[Relay]:
    """The way to a database of this test's own."""
    with relaying(postgres_url) as way:
        yield way


@pytest.fixture
def database(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """By that way, with little patience."""
    monkeypatch.setattr(BoundedConnection, "limit_s", SHORT_S)
    monkeypatch.setattr(postgres, "ANSWER_S", SHORT_S)
    opened = Database(make_engine(relay.url))
    with opened.begin() as session:
        session.execute(text("SELECT 1"))
    yield opened
    opened.close()


def ask(database: Database) -> int:
    """Something that PostgreSQL knows."""
    with database.read_core() as sql:
        return int(sql.execute(text("SELECT 41 + 1")).scalar_one())


def test_a_silent_server_is_told_as_one_that_is_away(relay: Relay, database: Database) -> None:
    """Not for good: the connection is given up, and the next one is asked on another."""

    def freeze_within() -> None:
        with database.begin_core() as sql:
            assert sql.execute(text("SELECT 1")).scalar_one() == 1
            relay.freeze()
            sql.execute(text("SELECT 2"))

    with pytest.raises(DatabaseDown) as caught:
        freeze_within()
    assert "accepts connections but does not answer" in explain(caught.value)
    relay.thaw()
    assert ask(database) == 42


def test_an_idle_connection_to_a_silent_server_is_given_up(relay: Relay, database: Database) -> None:
    """It is looked at before it is used; a new one does not come to be either."""
    relay.freeze()
    with pytest.raises(DatabaseDown):
        ask(database)
    relay.thaw()
    wait_until(lambda: ask(database) == 42, "the database to be asked again")


def test_a_walk_through_tables_may_take_its_time(database: Database) -> None:
    """While its limit is lifted, and no other's is; the next user of its connection has the usual one."""
    with database.read() as session:
        lift_time_limit(session)
        session.execute(text(f"SELECT pg_sleep({3 * SHORT_S})"))
    with pytest.raises(DatabaseDown), database.read() as session:
        session.execute(text(f"SELECT pg_sleep({30 * SHORT_S})"))


def test_the_servers_own_limit_comes_first() -> None:
    """It ends one statement; ours gives up the connection."""
    assert STATEMENT_TIMEOUT_MS / 1000 < postgres.ANSWER_S
