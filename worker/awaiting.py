"""The waits of a worker before it loads its engine: for a database at the schema of this build, and for its films."""

from __future__ import annotations

import time

from shared.db import schema
from shared.db.engine import Database
from shared.db.film_folder import FilmFolder
from shared.errors import DatabaseDown, StorageDown
from shared.log import get_logger

log = get_logger(__name__)

DATABASE_PATIENCE_S = 90.0
"""Less than the 120 s after which Celery kills a prefork child that has not started."""

FILMS_PAUSE_S = 1.0
FILMS_PATIENCE_S = 20.0
"""The rest of those 120 s is for loading the model."""


def wait_for_database(database: Database, patience_s: float = DATABASE_PATIENCE_S) -> None:
    """Return once the database answers at the schema of this build; retries with growing pauses.

    Raises:
        DatabaseDown: it did not within `patience_s`.
    """
    give_up_at, pause_s = time.monotonic() + patience_s, 0.5
    while True:
        try:
            revision = schema.current_revision(database)
            why = None
        except DatabaseDown as error:
            revision, why = "unreachable", error.facts.get("why")
        if revision == schema.HEAD:
            return
        if time.monotonic() + pause_s > give_up_at:
            raise DatabaseDown(f"The database is {revision or 'not migrated'}; this build needs {schema.HEAD}.")
        log.warning("database.awaited", found=revision, needed=schema.HEAD, why=why)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 8.0)


def wait_for_films(films: FilmFolder, patience_s: float = FILMS_PATIENCE_S) -> None:
    """Return once the film folder of this database is available: a web process marks it at its first start.

    Raises:
        StorageDown: it was not within `patience_s`.
        DatabaseDown: the database is unavailable.
    """
    give_up_at = time.monotonic() + patience_s
    while True:
        try:
            films.open(may_mark=False)
        except StorageDown as error:
            log.warning("films.awaited", why=error.detail)
            if time.monotonic() > give_up_at:
                raise
            time.sleep(FILMS_PAUSE_S)
        else:
            return
