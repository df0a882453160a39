"""1 to 16 simulated workers on one PostgreSQL: the product's worker with an engine that sleeps, see `tests/chaos`.

Workers are added to those that run, so that each number of them is measured on the same database. The films are rows
that share one stored film; nobody rings, since a worker at work looks for more by itself.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import func, select

from shared import broker
from shared.db import migrate, worker_queries
from shared.db.engine import Database
from shared.db.film_folder import FilmFolder
from shared.db.tables import Job
from shared.domain import DEFAULT_TENANT, JobState, Priority
from shared.imaging import stored
from shared.manifest import read_manifest
from shared.storage.local import LocalBlobs
from tests.bench import long_tables, rows, stats
from tests.bench.long_tables import Say
from tests.bench.rows import Rows
from tests.chaos import servers
from tests.chaos.keeper import Keeper
from tests.chaos.plan import Design, Options
from tests.chaos.stack import Stack
from tests.chaos.standin import STAND_IN
from tests.factories import make_pixels
from worker.serving import SHIPPED_MODEL

FILM_MS = 500
"""What the engine sleeps: long beside the worker's own work, of which 16 share two cores here."""

STAGES = (1, 2, 4, 8, 16)
BULK = 10_000
WINDOW_S = 20.0
STAT_TRIES = 5
START_WAIT_S = 180.0


class Crowd(Stack):
    """Workers without a web server; each claims one film at a time."""

    def open(self) -> None:
        """Broker and database, no worker yet."""
        assert self.postgres is not None
        for server in (self.broker, self.postgres):
            self.keeper.add(server)
        broker.wait_until_up(self.redis_url)
        self.database = servers.wait_for_database(self.sql_url)
        migrate.upgrade(self.database)

    def grow_to(self, count: int) -> None:
        """Start workers until so many live.

        Raises:
            TimeoutError: they do not in time.
        """
        running = len(self.keeper.parts) - 2
        for part in self.workers[running:count]:
            self.keeper.add(part)
        give_up_at = time.monotonic() + START_WAIT_S
        while living(self.database) < count:
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"not all of {count} workers live; see {self.keeper.logs}")
            time.sleep(0.2)

    def _environment(self, **more: str) -> Mapping[str, str]:
        return super()._environment(**{"PLAINFILM_BATCH_LIMIT": "1", "PLAINFILM_POLL_S": "0.5", **more})


def measure(folder: Path, say: Say) -> dict[str, object]:
    """Films a second at each stage, the speed-up of 16 workers over one, and how soon a `stat` film starts."""
    keeper = Keeper(folder / "logs")
    keeper.logs.mkdir(parents=True)
    keeper.start()
    try:
        crowd = Crowd(_options(folder), folder, keeper)
        crowd.open()
        owner = long_tables.make_owner(crowd.database)
        FilmFolder(crowd.home / "films", crowd.database).open(may_mark=True)
        ref = LocalBlobs(crowd.home / "films").put(DEFAULT_TENANT, rows.job_id(0), stored.to_bytes(make_pixels()))
        sha256 = read_manifest(SHIPPED_MODEL).weights_sha256
        waiting = Rows(DEFAULT_TENANT, owner, 1, BULK, JobState.QUEUED, Priority.BULK, ref)
        rows.make(crowd.database, waiting, sha256)
        speeds: dict[int, float] = {}
        stat_s: Sequence[float] = ()
        for count in STAGES:
            crowd.grow_to(count)
            stat_s = stat_s or _stat_starts(crowd.database, waiting, sha256)
            speeds[count] = films_per_s(crowd.database)
            say(f"  {count} workers: {speeds[count]:.2f} films/s")
        crowd.database.close()
    finally:
        keeper.close()
    return {
        "workers": {
            "film_ms": FILM_MS,
            **{f"films_per_s_{count}": speed for count, speed in speeds.items()},
            **{f"speedup_{count}": speed / speeds[1] for count, speed in speeds.items()},
        },
        "stat_behind_bulk_s": stats.percentile(stat_s, 0.5),
    }


def living(database: Database) -> int:
    """Workers that polled lately."""
    with database.read() as session:
        return worker_queries.count_live_workers(session, database.now(session))


def films_per_s(database: Database) -> float:
    """Films answered in a window, divided by it."""
    before, started = answered(database), time.monotonic()
    time.sleep(WINDOW_S)
    after, ended = answered(database), time.monotonic()
    return (after - before) / (ended - started)


def answered(database: Database) -> int:
    """How many have succeeded.

    Raises:
        RuntimeError: a film ended otherwise: a rate of failures is no speed.
    """
    with database.read() as session:
        rows = session.execute(select(Job.state, func.count()).group_by(Job.state))
        found = {JobState(state): number for state, number in rows}
    succeeded = found.pop(JobState.SUCCEEDED, 0)
    bad = [f"{number} {state.value}" for state, number in found.items() if state.is_terminal]
    if bad:
        raise RuntimeError(f"films that were not answered: {', '.join(bad)}")
    return succeeded


def _stat_starts(database: Database, waiting: Rows, sha256: str) -> list[float]:
    """Seconds from the insertion of a `stat` film behind the bulk to its start, some times, with one worker."""
    found: list[float] = []
    for number in range(waiting.count + 1, waiting.count + 1 + STAT_TRIES):
        film = Rows(waiting.tenant, waiting.owner, number, 1, JobState.QUEUED, Priority.STAT, waiting.blob_ref)
        started = time.monotonic()
        rows.make(database, film, sha256)
        while not _has_started(database, rows.job_id(number)):
            time.sleep(0.01)
        found.append(time.monotonic() - started)
    return found


def _has_started(database: Database, job_id: str) -> bool:
    with database.read() as session:
        return session.scalar(select(Job.started_at).where(Job.id == job_id)) is not None


def _options(folder: Path) -> Options:
    return Options(
        jobs=0, seed=0, design=Design.PLAINFILM, database="postgresql", engine=STAND_IN, persistence="none", webs=0,
        workers=max(STAGES), clients=0, film_ms=FILM_MS, kills=0, spread_s=0.0, out=folder,
    )  # fmt: skip
