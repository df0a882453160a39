"""The audit chain: each event carries the hash of the one before it, so an edit, a deletion or a reordering shows.

`append` is called inside the transaction whose change it records, last, since it locks the stream's head. Body:
canonical JSON (RFC 8785), its time inside; hash = SHA-256 of stream, sequence, previous hash and body, by lines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import rfc8785
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from shared.db.engine import Sql
from shared.db.tables import AuditEvent, AuditHead, table_of

EVENTS_AT_ONCE: Final = 1000
"""Events in memory at a time while a chain is verified."""

GENESIS: Final = "0" * 64
"""The previous hash of a stream's first event."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event before it is chained.

    Attributes:
        actor: 'key:<id>', 'worker:<name>', 'sweeper' or 'system'.
        action: e.g. 'accepted', 'claimed', 'succeeded'.
        subject: the id of the object changed; mostly a job's.
        facts: JSON values only; digests rather than content.
    """

    actor: str
    action: str
    subject: str
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Break:
    """The first place where a chain does not hold."""

    stream: str
    seq: int
    problem: str


def append(sql: Sql, stream: str, events: Sequence[Event], now: datetime) -> None:
    """Append `events` to the chain of `stream`, in order.

    Args:
        stream: the tenant.
        now: the transaction's database time.
    """
    if not events:
        return
    seq, previous = sql.execute(_LOCK_HEAD, {"of": stream}).one()
    at = timestamp(now)
    rows: list[dict[str, object]] = []
    for event in events:
        body, seq = canonical(event, at), seq + 1
        own = link(stream, seq, previous, body)
        rows.append({
            "stream": stream, "seq": seq, "at": at, "actor": event.actor, "action": event.action,
            "subject": event.subject, "body": body, "prev_hash": previous, "hash": own,
        })  # fmt: skip
        previous = own
    sql.execute(insert(table_of(AuditEvent)), rows)
    sql.execute(_MOVE_HEAD, {"of": stream, "to": seq, "newest": previous})


_LOCK_HEAD = select(AuditHead.seq, AuditHead.hash).where(AuditHead.stream == bindparam("of")).with_for_update()

_MOVE_HEAD = (
    update(AuditHead)
    .where(AuditHead.stream == bindparam("of"))
    .values(seq=bindparam("to"), hash=bindparam("newest"))
    .execution_options(synchronize_session=False)
)


def timestamp(moment: datetime) -> str:
    """Return a time as ISO 8601 in UTC with microseconds: one form, so that equal times are equal texts."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def canonical(event: Event, at: str) -> str:
    """Return the event as RFC 8785 JSON."""
    body: dict[str, Any] = {  # Any: rfc8785's own type is recursive and private
        "at": at,
        "actor": event.actor,
        "action": event.action,
        "subject": event.subject,
        "facts": dict(event.facts),
    }
    return rfc8785.dumps(body).decode("utf-8")


def link(stream: str, seq: int, previous: str, body: str) -> str:
    """Return the hash that binds an event to its place in the chain."""
    return hashlib.sha256("\n".join((stream, str(seq), previous, body)).encode()).hexdigest()


def verify(session: Session) -> tuple[int, Break | None]:
    """Verify every stream from its genesis to its head.

    Returns:
        The number of events that hold, and the first break, if any.
    """
    checked = 0
    heads = session.scalars(select(AuditHead).order_by(AuditHead.stream)).all()
    for head in heads:
        events = select(AuditEvent).where(AuditEvent.stream == head.stream).order_by(AuditEvent.seq)
        with closing(session.scalars(events.execution_options(yield_per=EVENTS_AT_ONCE))) as rows:
            stream_checked, broken = _verify_stream(head, rows)
        checked += stream_checked
        if broken:
            return checked, broken
    stray = session.scalars(
        select(AuditEvent).where(AuditEvent.stream.not_in([head.stream for head in heads])).limit(1)
    ).first()
    return checked, Break(stray.stream, stray.seq, "stream has no head") if stray else None


def _verify_stream(head: AuditHead, rows: Iterable[AuditEvent]) -> tuple[int, Break | None]:
    seq, previous = 0, GENESIS
    for row in rows:
        problem = _problem(row, seq + 1, previous)
        if problem:
            return seq, Break(head.stream, row.seq, problem)
        seq, previous = row.seq, row.hash
    if (seq, previous) != (head.seq, head.hash):
        return seq, Break(head.stream, seq + 1, f"the head says {head.seq} events, the chain ends at {seq}")
    return seq, None


def _problem(row: AuditEvent, seq: int, previous: str) -> str | None:
    if row.seq != seq:
        return f"event {seq} is missing"
    if row.prev_hash != previous:
        return "the previous hash does not match"
    if row.hash != link(row.stream, row.seq, row.prev_hash, row.body):
        return "the hash does not match the body"
    if not _columns_agree(row):
        return "a column does not match the body"
    return None


def _columns_agree(row: AuditEvent) -> bool:
    """Return whether the readable columns are those of the hashed body."""
    prefix = rfc8785.dumps({"action": row.action, "actor": row.actor, "at": row.at}).decode("utf-8")[:-1]
    suffix = rfc8785.dumps({"subject": row.subject}).decode("utf-8")[1:]
    return row.body.startswith(prefix) and row.body.endswith(suffix)
