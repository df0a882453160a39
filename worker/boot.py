"""A pool child's start: logging, wiring, the engine loaded once and warmed up, then the poll and lease threads.

The model is loaded here, after the fork: loaded before it, the child hangs. A child that cannot start ends,
instead of living on without a model; it first waits for a database that is away.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from shared.db import migrate, queries
from shared.db.engine import Database, build_database
from shared.db.jobs import Claimant
from shared.domain import Priority, Verdict
from shared.errors import AppError, DatabaseDown, ManifestMismatch
from shared.log import get_logger, set_up_logging
from shared.manifest import ModelManifest
from shared.processes import die_with_parent
from shared.settings import Settings
from shared.wiring import build_resources
from worker import heartbeat, pipeline, sweep
from worker.engine.base import Engine
from worker.lease import LeaseKeeper
from worker.pipeline import Kitchen

log = get_logger(__name__)

EXIT_NO_START = 78
"""Exit status of a child that cannot start (EX_CONFIG of sysexits.h)."""

BEAT_EVERY_S = 4.0
PURGE_EVERY_S = 600.0
DATABASE_PATIENCE_S = 90.0
"""Less than the 120 s after which Celery kills a child that has not reported."""

TURN_WAIT_S = 30.0
SHIPPED_MODEL = Path(__file__).parent / "models" / "default"


@dataclass(slots=True)
class Runtime:
    """A started child: its kitchen, and the turn that task and poll loop share.

    `stop` ends the poll loop; `ended` is set when the last batch is done, and with it the lease loop.
    """

    kitchen: Kitchen
    turn: threading.Lock
    stop: threading.Event
    started_at: float
    ended: threading.Event = field(default_factory=threading.Event)

    def work(self) -> pipeline.BatchReport:
        """Process one batch, unless the other thread is long at it."""
        if not self.turn.acquire(timeout=TURN_WAIT_S):
            return pipeline.BatchReport()
        try:
            return pipeline.process(self.kitchen)
        finally:
            self.turn.release()


_runtime: Runtime | None = None


def current() -> Runtime:
    """This process's runtime.

    Raises:
        RuntimeError: the process was not started by `start`.
    """
    if _runtime is None:
        raise RuntimeError("this process was not started as a worker")
    return _runtime


def start(settings: Settings, priorities: tuple[Priority, ...]) -> Runtime:
    """Start this process as a pool child; ends it where that fails."""
    global _runtime  # noqa: PLW0603  one runtime a process, set once
    die_with_parent()
    set_up_logging(settings.log_level, "worker")
    try:
        wait_for_database(build_database(settings))
        _runtime = build(settings, priorities)
    except Exception:
        log.exception("worker.not_started")
        os._exit(EXIT_NO_START)
    for name, loop in (("poll", poll_loop), ("lease", lease_loop)):
        threading.Thread(target=loop, args=(_runtime,), name=name, daemon=True).start()
    log.info("worker.started", worker=_runtime.kitchen.who.worker, device=_runtime.kitchen.engine.device)
    return _runtime


def stop() -> None:
    """End the child's threads: the batch in hand is finished first, and the sign of life taken back."""
    if _runtime is None:
        return
    _runtime.stop.set()
    _runtime.turn.acquire(timeout=TURN_WAIT_S)
    _runtime.ended.set()
    try:
        heartbeat.retire(_runtime.kitchen.resources.database, _runtime.kitchen.who.worker)
    except AppError as error:
        log.warning("worker.not_retired", code=error.code)
    _runtime.kitchen.resources.close()


def build(settings: Settings, priorities: tuple[Priority, ...]) -> Runtime:
    """Everything but the threads; the model is registered and warm."""
    from worker.engine.keras_engine import load_engine  # noqa: PLC0415  TensorFlow loads here, after the fork

    resources = build_resources(settings)
    engine = load_engine(model_folder(settings))
    check_labels(engine.manifest)
    warm_up(engine, settings.batch_limit)
    heartbeat.register_model(resources.database, engine.manifest)
    who = Claimant(worker_name(), priorities, settings.batch_limit, settings.lease_s)
    keeper = LeaseKeeper(resources.database, settings.lease_s, settings.run_limit_s)
    return Runtime(Kitchen(resources, engine, who, keeper), threading.Lock(), threading.Event(), time.time())


def wait_for_database(database: Database, patience_s: float = DATABASE_PATIENCE_S) -> None:
    """Return once the database answers at this build's schema; asked with growing pauses, before TensorFlow loads.

    Raises:
        DatabaseDown: not within `patience_s`; the pool starts a new child, which waits again.
    """
    give_up_at, pause_s = time.monotonic() + patience_s, 0.5
    while True:
        try:
            found = migrate.current_revision(database)
        except DatabaseDown:
            found = "unreachable"
        if found == migrate.head_revision():
            return
        if time.monotonic() + pause_s > give_up_at:
            raise DatabaseDown(
                f"The database is {found or 'not migrated'}; this build needs {migrate.head_revision()}."
            )
        log.warning("database.awaited", found=found, needed=migrate.head_revision())
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 8.0)


def check_labels(manifest: ModelManifest) -> None:
    """Every label must be a verdict that results and pages know.

    Raises:
        ManifestMismatch: names the label that is not.
    """
    unknown = [label for label in manifest.labels if label not in set(Verdict)]
    if unknown:
        raise ManifestMismatch(f"The model's label '{unknown[0]}' is no verdict of this build.")


def model_folder(settings: Settings) -> Path:
    """The set model, else the shipped one."""
    return settings.model_dir or SHIPPED_MODEL


def worker_name() -> str:
    """Host and process id: unique among the living."""
    return f"{socket.gethostname()[:64]}:{os.getpid()}"


def warm_up(engine: Engine, batch_limit: int) -> None:
    """One film and one full batch: the first real film should not pay for the trace."""
    for n in (1, batch_limit):
        engine.infer(np.zeros((n, *engine.manifest.input_shape), np.float32))


def poll_loop(runtime: Runtime) -> None:
    """Look for due films without a ring, beat, sweep and purge, until told to stop."""
    settings = runtime.kitchen.resources.settings
    last_beat = last_purge = 0.0
    while not runtime.stop.is_set():
        try:
            if time.monotonic() - last_beat >= BEAT_EVERY_S:
                heartbeat.beat(runtime.kitchen)
                last_beat = time.monotonic()
            drain(runtime)
            sweep.sweep(runtime.kitchen.resources, runtime.kitchen.who.worker)
            if time.monotonic() - last_purge >= PURGE_EVERY_S:
                sweep.purge_orphans(runtime.kitchen.resources)
                last_purge = time.monotonic()
        except AppError as error:
            log.warning("poll.failed", code=error.code)
        except Exception:
            log.exception("poll.failed")
        runtime.stop.wait(settings.poll_s)


def drain(runtime: Runtime) -> None:
    """Process batches while films are due; reads before it takes a write lock."""
    database, who = runtime.kitchen.resources.database, runtime.kitchen.who
    while not runtime.stop.is_set():
        with database.read() as session:
            is_waiting = queries.has_due(session, database.now(session), who.priorities)
        if not is_waiting or runtime.work().claimed == 0 or runtime.stop.is_set():
            return
        heartbeat.beat(runtime.kitchen)
        sweep.sweep(runtime.kitchen.resources, who.worker)  # a long queue must not hide what dead workers held


def lease_loop(runtime: Runtime) -> None:
    """Renew the leases of the batch in hand."""
    runtime.kitchen.keeper.run(runtime.ended)
