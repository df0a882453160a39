"""The audit chain on both databases: it verifies, refuses changes, and shows every kind of tampering."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import event, select, text, update
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from shared.db import audit
from shared.db.audit import Event
from shared.db.engine import Database, make_engine
from shared.db.tables import AuditEvent, AuditHead
from tests.jobs import make_job

pytestmark = pytest.mark.integration


@pytest.fixture
def chained(database: Database) -> Database:
    """A database with a chain of five events."""
    for n in range(5):
        with database.begin() as session:
            facts = {"n": n, "share": 0.1 * n, "words": "ñ 胸部"}
            audit.append(session, "default", [Event("key:k", "accepted", f"job-{n}", facts)], database.now(session))
    return database


def test_an_untouched_chain_holds(chained: Database) -> None:
    """All five events are counted and none is broken."""
    with chained.read() as session:
        assert audit.verify(session) == (5, None)


@pytest.mark.parametrize("statement", ["UPDATE audit_events SET actor = 'x'", "DELETE FROM audit_events"])
def test_the_database_itself_refuses_a_change(chained: Database, statement: str) -> None:
    """The triggers refuse update and delete."""
    with pytest.raises(DatabaseError, match="insert-only"), chained.engine.begin() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize("way", ["INSERT OR REPLACE", "REPLACE"])
@pytest.mark.parametrize("column", ["seq", "prev_hash", "rowid"])
def test_sqlite_refuses_to_replace_an_event(sqlite_url: str, way: str, column: str) -> None:
    """A row that takes another's place deletes it, and no trigger on deletes is asked: by either key, or its number."""
    database = Database(make_engine(sqlite_url))
    with database.begin() as session:
        audit.append(session, "default", [Event("key:k", "accepted", "job", {})], database.now(session))
    columns = ["rowid", "stream", "seq", "at", "actor", "action", "subject", "body", "prev_hash", "hash"]
    taken = {"rowid": "rowid + 1", "seq": "seq + 1", "prev_hash": "'other'"}
    taken.pop(column)
    values = ", ".join(taken.get(name, "'forged'" if name == "body" else name) for name in columns)
    statement = f"{way} INTO audit_events ({', '.join(columns)}) SELECT {values} FROM audit_events"  # noqa: S608
    with pytest.raises(DatabaseError, match="insert-only"), database.engine.begin() as connection:
        connection.execute(text(statement))
    database.close()


def test_postgresql_refuses_a_truncate(postgres_url: str, postgres_server: str) -> None:
    """TRUNCATE does not slip past the row triggers."""
    from shared.db.engine import make_engine  # noqa: PLC0415

    engine = make_engine(postgres_url)
    with pytest.raises(DatabaseError, match="insert-only"), engine.begin() as connection:
        connection.execute(text("TRUNCATE audit_events"))
    engine.dispose()


def edit(session: Session) -> None:
    """Change what happened."""
    session.execute(update(AuditEvent).where(AuditEvent.seq == 3).values(body=AuditEvent.body + " "))


def edit_column(session: Session) -> None:
    """Change a readable column and leave the hashed body."""
    session.execute(update(AuditEvent).where(AuditEvent.seq == 3).values(actor="key:another"))


def edit_and_rechain(session: Session) -> None:
    """Change one event and give it a fitting hash; the next one still tells."""
    row = session.get_one(AuditEvent, ("default", 3))
    body = row.body.replace("job-2", "job-9")
    values = {"body": body, "subject": "job-9", "hash": audit.link("default", 3, row.prev_hash, body)}
    session.execute(update(AuditEvent).where(AuditEvent.seq == 3).values(values))


def remove(session: Session) -> None:
    """Delete one event in the middle."""
    session.execute(text("DELETE FROM audit_events WHERE seq = 3"))


def cut_tail(session: Session) -> None:
    """Delete the last event."""
    session.execute(text("DELETE FROM audit_events WHERE seq = 5"))


def reorder(session: Session) -> None:
    """Let two events change places."""
    for old, new in ((3, 103), (4, 3), (103, 4)):
        session.execute(update(AuditEvent).where(AuditEvent.seq == old).values(seq=new))


def insert_at_the_end(session: Session) -> None:
    """Add an event without moving the head."""
    last = session.scalars(select(AuditEvent).where(AuditEvent.seq == 5)).one()
    body = last.body
    session.execute(
        text(
            "INSERT INTO audit_events SELECT stream, 6, at, actor, action, subject, :b, :p, :h "
            "FROM audit_events WHERE seq = 5"
        ),
        {"b": body, "p": last.hash, "h": audit.link("default", 6, last.hash, body)},
    )


def forget_the_stream(session: Session) -> None:
    """Delete the head, so that no stream seems to exist."""
    session.execute(text("DELETE FROM audit_heads"))


@pytest.mark.parametrize(
    "tamper",
    [edit, edit_column, edit_and_rechain, remove, cut_tail, reorder, insert_at_the_end, forget_the_stream],
    ids=lambda function: function.__name__,
)
def test_tampering_past_the_triggers_is_found(chained: Database, tamper) -> None:  # noqa: ANN001
    """Whoever drops the triggers still cannot change the past unseen."""
    with chained.engine.begin() as connection:
        for trigger in ("no_update", "no_delete") if chained.is_sqlite else ("no_change",):
            on = "" if chained.is_sqlite else " ON audit_events"
            connection.execute(text(f"DROP TRIGGER audit_events_{trigger}{on}"))
    with chained.begin() as session:
        tamper(session)
    with chained.read() as session:
        _, found = audit.verify(session)
    assert found is not None
    assert found.stream == "default"


def test_a_chain_that_grows_meanwhile_holds(postgres_url: str) -> None:
    """Head and events are of one snapshot, however long it takes to read them."""
    database = Database(make_engine(postgres_url))
    make_job(database)
    heads = event.listens_for(database.engine, "before_cursor_execute")
    grown: list[str] = []

    @heads
    def grow(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM audit_events" in statement and not grown:
            grown.append(statement)
            make_job(other)

    other = Database(make_engine(postgres_url))
    with database.read() as session:
        assert audit.verify(session) == (1, None)
    assert grown
    for opened in (database, other):
        opened.close()


def test_a_long_chain_is_not_held_in_memory(postgres_url: str) -> None:
    """PostgreSQL hands its events over piece by piece, by a cursor of its own."""
    database = Database(make_engine(postgres_url))
    make_job(database)
    cursors: list[object] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def note(_connection: object, cursor: object, statement: str, *_: object) -> None:
        if "FROM audit_events" in statement and "LIMIT" not in statement:
            cursors.append(cursor)

    with database.read() as session:
        assert audit.verify(session) == (1, None)
    assert cursors
    assert all(isinstance(cursor, psycopg.ServerCursor) for cursor in cursors)
    database.close()


def test_two_events_of_one_transaction_are_chained_in_order(database: Database) -> None:
    """A batch's events get rising numbers and link to each other."""
    with database.begin() as session:
        events = [Event("worker:w", "claimed", f"job-{n}") for n in range(3)]
        audit.append(session, "default", events, database.now(session))
    with database.read() as session:
        rows = session.scalars(select(AuditEvent).order_by(AuditEvent.seq)).all()
        assert [row.seq for row in rows] == [1, 2, 3]
        assert [row.prev_hash for row in rows] == [audit.GENESIS, rows[0].hash, rows[1].hash]
        assert session.get_one(AuditHead, "default").hash == rows[2].hash
