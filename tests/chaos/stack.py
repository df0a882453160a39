"""plainfilm as a trial runs it: one database, one broker, some web servers and workers over one home folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from shared import broker
from shared.broker import free_port
from shared.db import keys, migrate
from shared.db.engine import Database, make_engine
from shared.domain import DEFAULT_TENANT
from shared.errors import DatabaseDown
from tests.chaos import servers
from tests.chaos.keeper import Keeper, Part
from tests.chaos.plan import Options
from tests.chaos.standin import FILM_MS, STAND_IN

LEASE_S = 10.0
START_WAIT_S = 180.0
ASK_EVERY_S = 0.2


class Outages(threading.Thread):
    """Notes when the database did not answer: wall times of its beginning and end.

    Args:
        url: of the database; asked over a connection of its own.
    """

    def __init__(self, url: str) -> None:
        super().__init__(name="outages", daemon=True)
        self.found: list[tuple[float, float]] = []
        self._database = Database(make_engine(url))
        self._over = threading.Event()

    def run(self) -> None:
        """Ask again and again."""
        since: float | None = None
        while not self._over.wait(ASK_EVERY_S):
            asked = time.time()
            if self._answers():
                self.found += [] if since is None else [(since, time.time())]
                since = None
            else:
                since = asked if since is None else since
        self._database.close()

    def close(self) -> None:
        """Ask no more."""
        self._over.set()
        self.join()

    def _answers(self) -> bool:
        try:
            with self._database.read() as session:
                self._database.now(session)
        except DatabaseDown:
            return False
        return True


class Stack:
    """A running service.

    Args:
        options: how much of it.
        folder: of its state; removed by the caller.
        keeper: a started one, which keeps the parts.
    """

    def __init__(self, options: Options, folder: Path, keeper: Keeper) -> None:
        self.options = options
        self.keeper = keeper
        self.home = folder / "home"
        self.home.mkdir(mode=0o700)
        self.broker, self.redis_url = servers.redis(folder, options.persistence)
        self.postgres: Part | None = None
        self.sql_url = f"sqlite:///{self.home / 'plainfilm.db'}"
        if options.database == "postgresql":
            self.postgres, self.sql_url = servers.postgresql(folder)
        self.urls = [f"http://127.0.0.1:{free_port()}" for _ in range(options.webs)]
        self.webs = [self._web(number, url) for number, url in enumerate(self.urls)]
        model = str(servers.model_folder(folder))
        self.workers = [self._worker(number, model) for number in range(options.workers)]
        self.key = ""
        self.database: Database

    def start(self) -> None:
        """Start everything in its order; returns when all workers live.

        Raises:
            TimeoutError: they do not in time; the logs say why.
        """
        for server in (self.broker, self.postgres):
            if server is not None:
                self.keeper.add(server)
        broker.wait_until_up(self.redis_url)
        self.database = servers.wait_for_database(self.sql_url)
        migrate.upgrade(self.database)
        with self.database.begin() as session:
            self.key = keys.make_key(session, DEFAULT_TENANT, "admin", self.database.now(session))
        for part in (*self.webs, *self.workers):
            self.keeper.add(part)
        self._wait_until_ready()

    def stop_service(self) -> None:
        """End webs and workers; the database stays, for the checker."""
        self.keeper.retire([*self.webs, *self.workers])

    def _wait_until_ready(self) -> None:
        give_up_at = time.monotonic() + START_WAIT_S
        with httpx.Client(trust_env=False, verify=False, timeout=10.0) as http:  # noqa: S501  loopback, no TLS
            while not all(self._is_ready(http, url) for url in self.urls):
                if time.monotonic() > give_up_at:
                    raise TimeoutError(f"not ready after {START_WAIT_S:.0f} s; see {self.keeper.logs}")
                time.sleep(0.2)

    def _is_ready(self, http: httpx.Client, url: str) -> bool:
        try:
            state = http.get(f"{url}/readyz").json()
        except (httpx.TransportError, ValueError):
            return False
        return bool(state.get("ready")) and state["workers"] >= len(self.workers)

    def _web(self, number: int, url: str) -> Part:
        """Of two, one is a single process and one is gunicorn with two."""
        more = {"PLAINFILM_PORT": url.rsplit(":", 1)[1], "PLAINFILM_WEB_WORKERS": str(1 + number % 2)}
        return Part(f"web{number}", ["web", "run"], self._environment(**more))

    def _worker(self, number: int, model: str) -> Part:
        engine = self.options.engine
        environment = self._environment(
            PLAINFILM_MODEL_DIR=model,
            PLAINFILM_ENGINE="auto" if engine == STAND_IN else engine,
            CHAOS_ENGINE=engine,
            **{FILM_MS: str(self.options.film_ms)},
        )
        pool = self.options.pools[number % len(self.options.pools)]
        command = ["worker", "run", "--queues", "stat,routine,bulk", "--pool", pool]
        return Part(f"worker{number}", command, environment, is_solo=pool == "solo")

    def _environment(self, **more: str) -> Mapping[str, str]:
        return {
            "PLAINFILM_HOME": str(self.home),
            "PLAINFILM_DATABASE_URL": self.sql_url,
            "PLAINFILM_REDIS_URL": self.redis_url,
            "PLAINFILM_LEASE_S": str(LEASE_S),
            "PLAINFILM_DECODERS": "1",
            "PLAINFILM_BATCH_LIMIT": "4",
            **more,
        }
