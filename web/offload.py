"""Which calls leave gevent's loop: SQLite's lock and fsync would stall every other request of the process.

Reads of a row or two stay in the loop, where they take less time than the turn of a thread. PostgreSQL is spoken to
over a socket, which gevent makes cooperative, so its calls stay where they are. What runs in a thread must not touch
Flask's `g` or `request`: take what it needs before.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.greenlets import run_in_thread

T = TypeVar("T")
U = TypeVar("U")


def draw(function: Callable[[], T]) -> T:
    """`run_in_thread`, in turn: of drawings, which hold a whole film each, no more than cores at once in a process."""
    with _seats():
        return run_in_thread(function)


@cache
def _seats() -> threading.Semaphore:
    return threading.Semaphore(os.cpu_count() or 1)


def run_sql(database: Database, function: Callable[[], T]) -> T:
    """Call a function that speaks to `database`, out of the loop where that blocks."""
    return run_in_thread(function) if database.is_sqlite else function()


def run_then_sql(database: Database, function: Callable[[], T], then: Callable[[T], U]) -> U:
    """`then` of what `function` gives; both block, `then` by speaking to `database`. One thread for both on SQLite."""
    if database.is_sqlite:
        return run_in_thread(lambda: then(function()))
    return then(run_in_thread(function))


def read(database: Database, query: Callable[[Session], T]) -> T:
    """Run `query` in a reading transaction."""

    def inside() -> T:
        with database.read() as session:
            return query(session)

    return run_sql(database, inside)


def read_row(database: Database, query: Callable[[Connection], T]) -> T:
    """Run a query for a row or two by their keys: in the loop, since SQLite answers sooner than a thread has its turn.

    Its readers wait for nobody (DECISIONS 28).
    """
    with database.read_core() as sql:
        return query(sql)


def write(database: Database, change: Callable[[Session], T]) -> T:
    """Run `change` in a writing transaction."""

    def inside() -> T:
        with database.begin() as session:
            return change(session)

    return run_sql(database, inside)
