"""Moves blocking calls out of gevent's event loop: SQLite's lock and fsync would stall all requests of the process.

Reads of a row or two stay in the loop, since they take less time than a switch to a thread. PostgreSQL's calls stay
too: its socket is cooperative under gevent. A function that runs in a thread must not use Flask's `g` or `request`.
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
    """Draw a picture in a thread, with at most one drawing per CPU core at once: each holds a whole film."""
    with _seats():
        return run_in_thread(function)


@cache
def _seats() -> threading.Semaphore:
    return threading.Semaphore(os.cpu_count() or 1)


def run_sql(database: Database, function: Callable[[], T]) -> T:
    """Call a function that uses `database`, in a thread where it would block the loop."""
    return run_in_thread(function) if database.is_sqlite else function()


def run_then_sql(database: Database, function: Callable[[], T], then: Callable[[T], U]) -> U:
    """Call `function`, which blocks, then `then` with its result, which uses `database`; on SQLite in one thread."""
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
    """Run a query for a row or two by key, in the loop: SQLite answers faster than a thread could be switched to.

    SQLite's readers never wait for its writer (DECISIONS 28).
    """
    with database.read_core() as sql:
        return query(sql)


def write(database: Database, change: Callable[[Session], T]) -> T:
    """Run `change` in a writing transaction."""

    def inside() -> T:
        with database.begin() as session:
            return change(session)

    return run_sql(database, inside)
