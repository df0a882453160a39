"""`python -m worker.alive`: exit 0 where a worker of this host polled the database lately, else 1.

The health check of worker containers. Celery's own ping answers for the master only: a worker can hear its broker
and still take no film.
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
    """True where a heartbeat of this host is younger than `WORKER_ALIVE_S`.

    Raises:
        DatabaseDown: it cannot be asked.
    """
    host = socket.gethostname()[:64]  # as `worker.boot.worker_name` begins; importing that module costs twice the time
    beat = tables.WorkerHeartbeat
    with database.read() as session:
        since = database.now(session) - timedelta(seconds=WORKER_ALIVE_S)
        ours = beat.worker.startswith(f"{host}:", autoescape=True)
        return session.scalar(select(beat.worker).where(ours, beat.polled_at > since).limit(1)) is not None


def main() -> int:
    """The exit status."""
    try:
        with build_database(load_settings()) as database:
            return 0 if is_alive(database) else 1
    except AppError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
