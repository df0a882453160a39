"""Anchors show what the chain itself cannot: a cut tail and a rebuilt chain, on both databases."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session

from shared.db import audit, audit_anchors
from shared.db.audit import Event
from shared.db.audit_anchors import Anchor
from shared.db.engine import Database
from shared.db.tables import AuditEvent, AuditHead

pytestmark = pytest.mark.integration


def append(database: Database, first: int, last: int) -> None:
    """Chain events with these numbers."""
    for n in range(first, last + 1):
        with database.begin() as session:
            audit.append(session, "default", [Event("key:k", "accepted", f"job-{n}")], database.now(session))


@pytest.fixture
def anchored(database: Database) -> tuple[Database, list[Anchor]]:
    """A chain of five events, whose triggers somebody has dropped, and anchors of its third and its last."""
    append(database, 1, 3)
    anchors = heads(database)
    append(database, 4, 5)
    with database.engine.begin() as connection:
        for trigger in ("no_update", "no_delete") if database.is_sqlite else ("no_change",):
            on = "" if database.is_sqlite else " ON audit_events"
            connection.execute(text(f"DROP TRIGGER audit_events_{trigger}{on}"))
    return database, [*anchors, *heads(database)]


def heads(database: Database) -> list[Anchor]:
    """The anchors of now."""
    with database.read() as session:
        return audit_anchors.read_heads(session)


def set_head(session: Session, seq: int, digest: str) -> None:
    """What a forger does last."""
    session.execute(update(AuditHead).where(AuditHead.stream == "default").values(seq=seq, hash=digest))


def cut_tail(session: Session) -> None:
    """Delete the last two events, and say that there were three."""
    session.execute(delete(AuditEvent).where(AuditEvent.seq > 3))
    set_head(session, 3, session.scalars(select(AuditEvent.hash).where(AuditEvent.seq == 3)).one())


def rebuild(session: Session) -> None:
    """Change the fourth event, and compute its hash and those of all later ones anew."""
    rows = session.scalars(select(AuditEvent).where(AuditEvent.seq > 3).order_by(AuditEvent.seq)).all()
    previous = rows[0].prev_hash
    for row in rows:
        body, subject = row.body.replace("job-4", "job-9"), row.subject.replace("job-4", "job-9")
        digest = audit.link("default", row.seq, previous, body)
        values = {"body": body, "subject": subject, "prev_hash": previous, "hash": digest}
        session.execute(update(AuditEvent).where(AuditEvent.seq == row.seq).values(values))
        previous = digest
    set_head(session, 5, previous)


@pytest.mark.parametrize(
    ("forge", "said"), [(cut_tail, "missing: the chain was cut off"), (rebuild, "the chain was rebuilt")]
)
def test_what_the_chain_does_not_show_an_anchor_does(
    anchored: tuple[Database, list[Anchor]], forge: Callable[[Session], None], said: str
) -> None:
    """The forged chain holds by itself, and has the older anchor; the newer one names the place."""
    database, (older, newer) = anchored
    with database.begin() as session:
        forge(session)
    with database.read() as session:
        assert audit.verify(session)[1] is None
        assert audit_anchors.find_break(session, [older]) is None
        found = audit_anchors.find_break(session, [older, newer])
    assert found is not None
    assert (found.stream, found.seq) == ("default", 5)
    assert said in found.problem


def test_a_chain_that_has_grown_has_its_old_anchors(anchored: tuple[Database, list[Anchor]]) -> None:
    """Each of them, as often as it is given; an anchor of a tenant that never was is missing."""
    database, anchors = anchored
    append(database, 6, 7)
    with database.read() as session:
        assert audit_anchors.find_break(session, [*anchors, *anchors]) is None
        assert audit_anchors.find_break(session, [*anchors, Anchor("clinic", 1, "0" * 64)]) is not None


def test_a_tenant_without_events_has_no_anchor(database: Database) -> None:
    """Nothing is there to be cut off."""
    assert heads(database) == []


def test_anchors_are_found_among_the_lines_of_a_log() -> None:
    """Lines of other events, of no JSON and of wrong types are passed over."""
    anchor = Anchor("default", 7, "a" * 64)
    logged = {"event": "audit.anchored", "stream": "clinic", "seq": 2, "hash": "b" * 64, "level": "info"}
    lines = [anchor.as_json(), "Traceback", "", "3", '{"event": "batch.done"}', json.dumps(logged),
             '{"stream": "x", "seq": "7", "hash": "c"}', '{"stream": "x", "seq": true, "hash": "c"}']  # fmt: skip
    assert list(audit_anchors.parse(lines)) == [anchor, Anchor("clinic", 2, "b" * 64)]
