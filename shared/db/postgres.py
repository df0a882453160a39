"""PostgreSQL connections with a timeout for each answer.

A frozen server, or one whose disk is frozen, still accepts bytes: TCP detects nothing, and the server's own timeouts
do not fire.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import Conninfo
from sqlalchemy import URL, Engine, event
from sqlalchemy.engine.interfaces import Dialect

from shared.errors import InvalidRequest

T = TypeVar("T")

ANSWER_S: Final = 20.0
"""Longer than the server's own limit for a statement, `engine.STATEMENT_TIMEOUT_MS`."""

SILENT: Final = "the server has not answered in time"
INTERVAL_S: Final = 0.1

NAME: Final = re.compile("[a-z_]{1,32}")
ESCAPED: Final = "in a password write '?' as %3F, '@' as %40 and '/' as %2F."


class BoundedConnection(psycopg.Connection[Any]):  # Any: rows of whatever form
    """A connection that is closed after `limit_s` seconds without an answer; with None it waits for ever."""

    limit_s: float | None = ANSWER_S

    def wait(self, gen: PQGen[T], interval: float = INTERVAL_S, timeout: float | None = None) -> T:
        """Wait for the server, as the base class does for every request, for at most `limit_s` seconds.

        Raises:
            OperationalError: the server has not answered in time.
        """
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.limit_s)
        except psycopg.errors._WaitTimeout as error:  # noqa: SLF001  what `wait` is documented to raise
            self.pgconn.finish()
            raise psycopg.OperationalError(SILENT) from error


def bound(engine: Engine) -> None:
    """Make every connection of a pool a `BoundedConnection`; a lifted limit is restored when one is returned."""
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "checkin", _restore)


def check_parameters(url: URL) -> None:
    """Check that the URL's parameters are known to PostgreSQL, each once.

    Raises:
        InvalidRequest: with the parameter's name, unless that may be a part of the password.
    """
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    for name, value in sorted(url.query.items()):
        if "@" in "".join(value) or not NAME.fullmatch(name):
            raise InvalidRequest(f"PLAINFILM_DATABASE_URL cannot be understood from its '?' on; {ESCAPED}")
        if name not in known:
            raise InvalidRequest(f"PLAINFILM_DATABASE_URL has the parameter {name}, which PostgreSQL does not know.")
        if not isinstance(value, str) and name != "host":
            raise InvalidRequest(f"PLAINFILM_DATABASE_URL has the parameter {name} more than once.")


def _connect(_dialect: Dialect, _record: object, arguments: list[Any], named: dict[str, Any]) -> BoundedConnection:
    return BoundedConnection.connect(*arguments, **named)


def _restore(connection: BoundedConnection | None, _record: object) -> None:
    if connection is not None:
        connection.limit_s = ANSWER_S
