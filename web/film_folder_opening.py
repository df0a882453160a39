"""Opens the films' folder after the web process has started: database and volume may become available later."""

from __future__ import annotations

import time
from typing import Final

from shared.db import schema
from shared.db.engine import Database
from shared.errors import DatabaseDown
from shared.log import get_logger, logging_faults
from shared.wiring import Resources
from web.offload import run_sql

log = get_logger(__name__)

PAUSE_S: Final = 2.0


def check_schema(database: Database) -> None:
    """Check that the database has this build's schema.

    Raises:
        DatabaseDown: it has another schema, or does not answer.
    """
    revision = schema.current_revision(database)
    if revision != schema.HEAD:
        found = f"The database is at schema {revision or 'none'}; this build needs {schema.HEAD}"
        raise DatabaseDown(f"{found}: {schema.advise(revision)}.")


def open_film_folder(resources: Resources) -> None:
    """Open the films' folder, with retries until it succeeds; films are refused meanwhile, and the log has the reason.

    The schema is checked first: another build's tables may not be those that this one writes.
    """
    while True:
        with logging_faults(log, "films.not_open"):
            run_sql(resources.database, lambda: check_schema(resources.database))
            run_sql(resources.database, lambda: resources.films.open(may_mark=True))
            return
        time.sleep(PAUSE_S)
