"""A pool of idle SQLite connections: a stack without a lock, since gevent's locks do not belong in real threads."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from sqlalchemy.pool import ConnectionPoolEntry, Pool

MOST_IDLE: Final = 16
"""More are closed when they come back. A process has fewer threads that speak to the database."""


class IdleStack(Pool):
    """Gives the connection that came back last, or a new one; nobody waits.

    A connection may be used by one thread after another, never by two at once. `deque` keeps its ends whole without a
    lock. As with every pool, no connection is carried over a fork: each process builds a database of its own.
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
        """A new, empty one of the same kind."""
        return IdleStack(
            self._creator, recycle=self._recycle, echo=self.echo, logging_name=self._orig_logging_name,
            reset_on_return=self._reset_on_return, pre_ping=self._pre_ping, _dispatch=self.dispatch,
            dialect=self._dialect,
        )  # fmt: skip

    def dispose(self) -> None:
        """Close what is idle; what is in use is closed when it comes back to nobody."""
        while self._idle:
            self._idle.pop().close()

    def status(self) -> str:
        """For logs."""
        return f"{len(self._idle)} idle"
