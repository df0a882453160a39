"""Anchors of the audit chain: copies of its heads that are kept outside the database.

Whoever can write to the database as its owner can cut off the newest events, or change one and compute all later hashes
anew. An anchor from before shows both: the chain has to have an event with its number and its hash.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.audit import Break
from shared.db.tables import AuditEvent, AuditHead


@dataclass(frozen=True, slots=True)
class Anchor:
    """The head of a tenant's chain at some time: the number and the hash of its newest event."""

    stream: str
    seq: int
    hash: str

    def as_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self))


def read_heads(session: Session) -> list[Anchor]:
    """Return an anchor for each tenant that has events."""
    heads = select(AuditHead.stream, AuditHead.seq, AuditHead.hash).where(AuditHead.seq > 0).order_by(AuditHead.stream)
    return [Anchor(*row) for row in session.execute(heads)]


def parse(lines: Iterable[str]) -> Iterator[Anchor]:
    """Yield the anchors among lines of JSON, such as those of a worker's log; other lines are passed over."""
    for line in lines:
        try:
            fields = json.loads(line)
            anchor = Anchor(fields["stream"], fields["seq"], fields["hash"])
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(anchor.stream, str) and type(anchor.seq) is int and isinstance(anchor.hash, str):
            yield anchor


def find_break(session: Session, anchors: Iterable[Anchor]) -> Break | None:
    """Return the first anchor's place where the chain is not as it was; None if it holds all of them.

    The chain between two anchors is not looked at: `audit.verify` does that.
    """
    for anchor in sorted(set(anchors), key=lambda each: (each.stream, each.seq)):
        event = (AuditEvent.stream == anchor.stream) & (AuditEvent.seq == anchor.seq)
        stored = session.scalar(select(AuditEvent.hash).where(event))
        if stored is None:
            return Break(anchor.stream, anchor.seq, "the event of an anchor is missing: the chain was cut off")
        if stored != anchor.hash:
            return Break(anchor.stream, anchor.seq, "the hash is not that of an anchor: the chain was rebuilt")
    return None
