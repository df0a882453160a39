"""The waits of a worker before it loads its engine: for a database at the schema of this build, and for its films."""

from __future__ import annotations

import time

from shared.db import schema
from shared.db.engine import Database
from shared.db.film_folder import FilmFolder
from shared.errors import DatabaseDown, StorageDown
from shared.log import get_logger
from worker.shutdown import EndedWhileWaiting, SharedFlag

log = get_logger(__name__)

DATABASE_PATIENCE_S = 90.0
"""Less than the 120 s after which Celery kills a prefork child that has not started."""

LOOK_S = 0.25
"""How often a worker that waits looks whether it is told to end."""

FILMS_PAUSE_S = 1.0
FILMS_PATIENCE_S = 20.0
"""The rest of those 120 s is for loading the model."""


def wait_for_database(
    database: Database, patience_s: float = DATABASE_PATIENCE_S, announced: SharedFlag | None = None
) -> None:
    """Return once the database answers at the schema of this build; retries with growing pauses.

    Args:
        announced: set when Celery receives SIGTERM, which ends the wait.

    Raises:
        DatabaseDown: it did not within `patience_s`.
        EndedWhileWaiting: the worker is to end.
    """
    give_up_at, pause_s = time.monotonic() + patience_s, 0.5
    while True:
        try:
            revision = schema.current_revision(database)
            why: object = schema.advise(revision)
        except DatabaseDown as error:
            revision, why = "unreachable", error.facts.get("why")
        if revision == schema.HEAD:
            return
        if time.monotonic() + pause_s > give_up_at:
            found = f"The database is {revision or 'not migrated'}; this build needs {schema.HEAD}"
            raise DatabaseDown(f"{found}: {why}." if why else f"{found}.")
        log.warning("database.awaited", found=revision, needed=schema.HEAD, why=why)
        _pause(pause_s, announced)
        pause_s = min(2 * pause_s, 8.0)


def wait_for_films(
    films: FilmFolder, patience_s: float = FILMS_PATIENCE_S, announced: SharedFlag | None = None
) -> None:
    """Return once the film folder of this database is available: a web process marks it at its first start.

    Args:
        announced: as of `wait_for_database`.

    Raises:
        EndedWhileWaiting: the worker is to end.
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
            _pause(FILMS_PAUSE_S, announced)
        else:
            return


def _pause(seconds: float, announced: SharedFlag | None) -> None:
    """Sleep; raise EndedWhileWaiting as soon as the flag is set."""
    until = time.monotonic() + seconds
    while (left_s := until - time.monotonic()) > 0:
        if announced is not None and announced.is_set:
            raise EndedWhileWaiting
        time.sleep(min(left_s, LOOK_S))
