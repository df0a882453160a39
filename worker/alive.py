"""`python -m worker.alive`: exits with 0 if a worker of this host polled the database recently, else with 1.

The health check of worker containers. Celery's own ping is answered by the parent process only: a worker can be
connected to its broker and still process no film.
"""

from __future__ import annotations

import socket
import sys
from datetime import timedelta

from sqlalchemy import select

from shared.db import tables
from shared.db.engine import Database, build_database
from shared.db.worker_queries import WORKER_ALIVE_S
from shared.errors import AppError
from shared.settings import load_settings


def is_alive(database: Database) -> bool:
    """Return whether a heartbeat of this host is younger than `WORKER_ALIVE_S`.

    Raises:
        DatabaseDown: the database is unavailable.
    """
    host = socket.gethostname()[:64]  # as `worker.boot.worker_name` begins; importing that module costs twice the time
    beat = tables.WorkerHeartbeat
    with database.read() as session:
        since = database.now(session) - timedelta(seconds=WORKER_ALIVE_S)
        is_local = beat.worker.startswith(f"{host}:", autoescape=True)
        return session.scalar(select(beat.worker).where(is_local, beat.polled_at > since).limit(1)) is not None


def main() -> int:
    """Return the exit status."""
    try:
        with build_database(load_settings()) as database:
            return 0 if is_alive(database) else 1
    except AppError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
