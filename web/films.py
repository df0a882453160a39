"""Opens the films' folder once the web process runs: database and volume may come later than it does."""

from __future__ import annotations

import time
from typing import Final

from shared.errors import AppError
from shared.log import get_logger
from shared.wiring import Resources
from web.offload import run_sql

log = get_logger(__name__)

PAUSE_S: Final = 2.0


def open_films(resources: Resources) -> None:
    """Open it, again and again until that goes well; films are refused meanwhile, and the log says why."""
    while True:
        try:
            run_sql(resources.database, lambda: resources.films.open(may_mark=True))
        except AppError as error:
            log.warning("films.not_open", code=error.code, why=error.detail)
        else:
            return
        time.sleep(PAUSE_S)
