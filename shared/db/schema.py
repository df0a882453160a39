"""The database's schema revision, and the one that this build needs. Read by every process; `migrate` changes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from sqlalchemy import inspect, text

from shared.db.engine import Database

HEAD: Final = "0017"
"""The newest revision in `migrations/`; a test compares. Reading it there would load Alembic into every process."""


def current_revision(database: Database) -> str | None:
    """Return the database's revision; None where it was never migrated.

    Raises:
        DatabaseDown: it cannot be reached.
    """
    with database.read() as session:
        if not inspect(session.connection()).has_table("alembic_version"):
            return None
        revision: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
        return revision


def advise(revision: str | None) -> str:
    """Return what an operator does about a database at another revision than this build's."""
    if revision is not None and revision > HEAD:
        return "install the plainfilm that made it"
    return "run `plainfilm db upgrade`"


def takes_changes(database: Database) -> bool:
    """Return whether it may be written to: a PostgreSQL may be a standby, or set read-only, as SQLite's file may."""
    if database.is_sqlite:
        file = Path(database.engine.url.database or "")
        return os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)  # its log lies beside it
    with database.read() as session:
        is_read_only = "pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean"
        return not session.scalar(text(f"SELECT {is_read_only}"))
