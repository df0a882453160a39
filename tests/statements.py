"""What a database is sent, for tests of what something costs: statements, commits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import event

from shared.db.engine import Database


@contextmanager
def hearing(database: Database, name: str, note: Callable[..., None]) -> Iterator[None]:
    """`note` is called at each event of the engine that has this name, while the block lasts."""
    event.listen(database.engine, name, note)
    try:
        yield
    finally:
        event.remove(database.engine, name, note)


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """The statements sent meanwhile, but those that only open and close a transaction."""
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA")):
            found.append(statement)

    with hearing(database, "before_cursor_execute", note):
        yield found


@contextmanager
def commits(database: Database) -> Iterator[list[object]]:
    """One for each transaction that is committed meanwhile."""
    found: list[object] = []

    def note(connection: object) -> None:
        found.append(connection)

    with hearing(database, "commit", note):
        yield found
