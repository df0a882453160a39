"""A pool of idle SQLite connections: a stack without a lock, since gevent's locks do not belong in real threads."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from sqlalchemy.pool import ConnectionPoolEntry, Pool

MOST_IDLE: Final = 16
"""Connections returned beyond this are closed. A process has fewer threads that use the database."""


class IdleStack(Pool):
    """A pool that hands out the connection returned last, or opens a new one; no thread waits.

    A connection may be used by one thread after another, never by two at once. `deque.pop` and `append` are atomic
    without a lock. As with every pool, no connection survives a fork: each process builds a database of its own.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:  # Any: handed on to SQLAlchemy's pool
        super().__init__(*arguments, **options)
        self._idle: deque[ConnectionPoolEntry] = deque()

    def _do_get(self) -> ConnectionPoolEntry:
        try:
            return self._idle.pop()
        except IndexError:
            return self._create_connection()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        if len(self._idle) < MOST_IDLE:
            self._idle.append(record)
        else:
            record.close()

    def recreate(self) -> IdleStack:
        """Return a new, empty pool with the same options."""
        return IdleStack(
            self._creator, recycle=self._recycle, echo=self.echo, logging_name=self._orig_logging_name,
            reset_on_return=self._reset_on_return, pre_ping=self._pre_ping, _dispatch=self.dispatch,
            dialect=self._dialect,
        )  # fmt: skip

    def dispose(self) -> None:
        """Close the idle connections; those in use are closed once they are returned and dropped."""
        while self._idle:
            self._idle.pop().close()

    def status(self) -> str:
        """Return the number of idle connections, for logs."""
        return f"{len(self._idle)} idle"
