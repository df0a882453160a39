"""Opens the films' folder once the web process runs: database and volume may come later than it does."""

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
    """Return where the database is at this build's schema.

    Raises:
        DatabaseDown: it is not, or does not answer.
    """
    found = schema.current_revision(database)
    if found != schema.HEAD:
        raise DatabaseDown(f"The database is at schema {found or 'none'}; this build needs {schema.HEAD}.")


def open_films(resources: Resources) -> None:
    """Open it, again and again until that goes well; films are refused meanwhile, and the log says why.

    Nor is any taken before the database is at this build's schema, whose tables we may not know.
    """
    while True:
        with logging_faults(log, "films.not_open"):
            run_sql(resources.database, lambda: check_schema(resources.database))
            run_sql(resources.database, lambda: resources.films.open(may_mark=True))
            return
        time.sleep(PAUSE_S)
