"""Named turns with a time limit: one sweeper at a time, on both databases by the same row."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.db.tables import Lock


def is_free(session: Session, name: str, owner: str, now: datetime) -> bool:
    """A read: could `owner` take the turn now? Spares idle processes the write lock."""
    row = session.get(Lock, name)
    return row is None or row.owner == owner or row.until < now


def take(session: Session, name: str, owner: str, hold: timedelta, now: datetime) -> bool:
    """Take or keep the turn until now + `hold`; False where another owner has it."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    values = {"name": name, "owner": owner, "until": now}
    session.execute(dialect.insert(Lock).values(values).on_conflict_do_nothing())
    mine_or_over = (Lock.name == name) & ((Lock.owner == owner) | (Lock.until <= now))
    taken = session.execute(update(Lock).where(mine_or_over).values(owner=owner, until=now + hold).returning(Lock.name))
    return taken.first() is not None
