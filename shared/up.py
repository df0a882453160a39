"""`plainfilm up`, in its order: broker, worker, migrations, key, web, webhooks, link, sample films, then watch.

The worker loads while the database is migrated, and waits for it. The imports of database and client take longer than
all others, and half of this process's memory: hence the late imports, and a child process for them.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from shared import broker, home, private_files
from shared.domain import DEFAULT_TENANT
from shared.errors import AppError, BadChecksum, Conflict, DatabaseDown, InvalidRequest, ManifestMismatch, NotAllowed
from shared.listening import listen
from shared.processes import die_with_parent
from shared.settings import Settings
from shared.supervisor import Part, Say, Supervisor

if TYPE_CHECKING:
    from shared.db.engine import Database


PAUSE_S = 1.0
"""Longest restart pause of web and workers: a bad film may kill a worker three times while others wait."""


def up(settings: Settings, say: Say) -> None:
    """Run the service until SIGINT or SIGTERM; no process or temporary file outlives it.

    Raises:
        Conflict: another service runs in this home.
        AppError: a part cannot be started; says which and what to do.
    """
    say = _ignoring_errors(say)
    home.prepare(settings, say)
    private_files.make_folder(settings.run)
    supervisor = Supervisor(settings.home / "logs", say)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, supervisor.request_stop)
    with _alone(settings.run / "lock"), listen(settings) as listener:
        try:
            _start(settings, supervisor, listener.fileno(), say)
            supervisor.watch()
        finally:
            say("stopping")
            supervisor.stop()
            for name in ("redis-url", "url", "broker.conf"):
                (settings.run / name).unlink(missing_ok=True)
            say("stopped")


def _ignoring_errors(say: Say) -> Say:
    """Return `say` without its I/O errors: the reader of our lines may have ended, as `tee` does at the same Ctrl-C."""

    def say_if_possible(line: str) -> None:
        with suppress(OSError):
            say(line)

    return say_if_possible


def _start(settings: Settings, supervisor: Supervisor, listener: int, say: Say) -> None:
    """Start the parts; the socket `listener` outlives a web process, so that connections wait for the next one."""
    _check_model(settings)
    broker_url = _start_broker(settings, supervisor)
    environment = {"PLAINFILM_REDIS_URL": broker_url, "PLAINFILM_HOME": str(settings.home)}
    url = settings.local_url
    private_files.write(settings.run / "redis-url", broker_url)
    private_files.write(settings.run / "url", url)
    for part in _workers(settings, environment):
        supervisor.add(part)
    token = _prepare(settings, url, say)
    web = [sys.executable, "-m", "web.run", f"fd://{listener}"]
    supervisor.add(Part("web", web, environment, PAUSE_S, [listener]))
    if settings.webhooks:
        supervisor.add(Part("webhooks", [sys.executable, "-m", "shared.webhooks.run"], environment))
    public_url = settings.service_url  # PLAINFILM_URL where it is set, else ours
    say(f"plainfilm is starting at {public_url}")
    say(f"  open once in your browser: {public_url}/enter/{token}")
    say(f"  API key: {settings.key_file}")
    say(f"  logs: {settings.home / 'logs'}   stop: Ctrl-C")


def _workers(settings: Settings, environment: Mapping[str, str]) -> list[Part]:
    """Return the worker parts; several share the cores evenly, unless the settings name the cores of each."""
    caches = dict.fromkeys(("KERAS_HOME", "MPLCONFIGDIR"), str(settings.home / "cache"))  # not in the user's own home
    worker_environment = {**environment, **caches}
    if settings.workers > 1 and settings.engine_threads is None:
        worker_environment["PLAINFILM_ENGINE_THREADS"] = str(-(-len(os.sched_getaffinity(0)) // settings.workers))
    names = ["worker", *(f"worker-{number}" for number in range(2, settings.workers + 1))]
    return [Part(name, [sys.executable, "-m", "worker.run"], worker_environment, PAUSE_S) for name in names]


def _start_broker(settings: Settings, supervisor: Supervisor) -> str:
    if settings.redis_url is not None:
        url = settings.redis_url.get_secret_value()
        broker.wait_until_up(url)
    else:
        command, url = broker.configure(settings.run, settings.home / "broker-address")
        supervisor.add(Part("broker", command, ends_last=True))
        broker.wait_until_started(url)
    return url


def _prepare(settings: Settings, url: str, say: Say) -> str:
    """Start the child that prepares the database and then queues the sample films; return a one-time login token."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_child, args=(sender, settings, url, say), daemon=True)
    child.start()
    sender.close()
    try:
        outcome: str | AppError = receiver.recv()
    except EOFError:
        raise DatabaseDown("The database could not be prepared; the lines above say why.") from None
    if isinstance(outcome, AppError):
        raise outcome
    return outcome


def _child(answer: Connection, settings: Settings, url: str, say: Say) -> None:
    """Prepare the database, send the token or the error, queue the sample films.

    SIGINT is ignored during the migration, since Ctrl-C signals all processes of the terminal.
    """
    die_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        key, token = _prepare_database(settings, say)
    except AppError as error:
        answer.send(error)
        return
    answer.send(token)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _queue_samples(url, key, say)


def _prepare_database(settings: Settings, say: Say) -> tuple[str, str]:
    """Migrate the database to this build's schema; return the key of this home and a one-time login token."""
    from shared.db import keys, migrate  # noqa: PLC0415
    from shared.db.engine import build_database  # noqa: PLC0415
    from shared.db.film_folder import FilmFolder  # noqa: PLC0415

    with build_database(settings) as database:
        migrate.upgrade(database)
        FilmFolder(settings.blobs, database).open(may_mark=True)
        key = _admin_key(settings, database, say)
        with database.begin() as session:
            return key, keys.make_link(session, keys.get_principal(session, key).key_id, database.now(session))


def _admin_key(settings: Settings, database: Database, say: Say) -> str:
    """Return the home's key; make one where the database does not know it, and put a key of another database aside."""
    from shared.db import keys  # noqa: PLC0415

    key = settings.key_file.read_text(encoding="utf-8").strip() if settings.key_file.exists() else ""
    with database.begin() as session:
        try:
            keys.get_principal(session, key)
        except NotAllowed:
            if key:
                aside = private_files.put_aside(settings.key_file)
                say(f"the key in {settings.key_file} is not valid in this database: kept as {aside.name}; new key made")
            key = keys.make_key(session, DEFAULT_TENANT, "admin", database.now(session))
            private_files.write(settings.key_file, key + "\n")
    return key


def _queue_samples(url: str, key: str, say: Say) -> None:
    """Submit the sample films at the first start, so that the first page shows verdicts."""
    from shared import samples  # noqa: PLC0415
    from shared.client import Client  # noqa: PLC0415

    try:
        with Client(url, key) as client:
            is_first = not client.jobs(limit=1).jobs
            say("ready")
            if not is_first:
                return
            paths = samples.paths()
            for path in paths:
                client.submit(path)
    except AppError as error:
        say(f"sample films were not queued: {error.detail}")
    else:
        say(f"{len(paths)} sample films are queued: each a blend of several films, not of any one person")


def _check_model(settings: Settings) -> None:
    """Refuse a folder without a whole model, which otherwise only the log of a worker would report, at each start."""
    from shared.manifest import WEIGHTS_FILE, read_manifest, read_verified  # noqa: PLC0415

    if settings.model_dir is None:
        return
    try:
        read_verified(settings.model_dir / WEIGHTS_FILE, read_manifest(settings.model_dir).weights_sha256)
    except (ManifestMismatch, BadChecksum) as error:
        raise InvalidRequest(f"PLAINFILM_MODEL_DIR {settings.model_dir} cannot be used: {error.detail}") from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock on the file and write our pid to it: only one service runs in a home."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict("plainfilm already runs in this home; set PLAINFILM_HOME for another.") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
