"""All stored films of a database, for commands that read each of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import select

from shared.db.engine import Database
from shared.db.tables import Job

BATCH: Final = 1000
"""Jobs read in one statement."""


def list_films(database: Database) -> Iterator[tuple[str, str]]:
    """Yield each job's id and its film's reference, the oldest job first; no transaction is open meanwhile."""
    last = ""
    while True:
        with database.read() as session:
            page = session.execute(
                select(Job.id, Job.blob_ref).where(Job.id > last).order_by(Job.id).limit(BATCH)
            ).all()
        if not page:
            return
        yield from ((row.id, row.blob_ref) for row in page)
        last = page[-1].id
