"""Named locks with a time limit, as rows: one sweeper at a time, on both databases."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from shared.db.engine import Sql, dialect_of
from shared.db.tables import Lock


def is_free(sql: Sql, name: str, owner: str, now: datetime) -> bool:
    """Return whether `owner` could take the lock now: a read, so that idle processes take no write lock."""
    row = sql.execute(select(Lock.owner, Lock.until).where(Lock.name == name)).first()
    return row is None or row.owner == owner or row.until < now


def take(sql: Sql, name: str, owner: str, hold: timedelta, now: datetime) -> bool:
    """Take or extend the lock until now + `hold`; returns False where another owner has it."""
    dialect = sqlite if dialect_of(sql) == "sqlite" else postgresql
    values = {"name": name, "owner": owner, "until": now}
    sql.execute(dialect.insert(Lock).values(values).on_conflict_do_nothing())
    is_available = (Lock.name == name) & ((Lock.owner == owner) | (Lock.until <= now))
    taken = sql.execute(update(Lock).where(is_available).values(owner=owner, until=now + hold).returning(Lock.name))
    return taken.first() is not None
