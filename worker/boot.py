"""A pool child's start: logging, wiring, the engine loaded once and warmed up, then the poll and lease threads.

The model is loaded here, after the fork: loaded before it, the child hangs. A child that cannot start ends with a
status the supervisor sees, instead of living on without a model.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import delete
from sqlalchemy.orm import Session

from shared.db import queries, tables
from shared.db.jobs import Claimant
from shared.domain import Priority
from shared.errors import AppError
from shared.log import get_logger, set_up_logging
from shared.manifest import ModelManifest
from shared.processes import die_with_parent
from shared.settings import Settings
from shared.wiring import Resources, build_resources
from worker import pipeline, sweep
from worker.engine.base import Engine
from worker.lease import LeaseKeeper
from worker.pipeline import Kitchen

log = get_logger(__name__)

EXIT_NO_START = 78
"""Exit status of a child that cannot start (EX_CONFIG of sysexits.h)."""

BEAT_EVERY_S = 4.0
PURGE_EVERY_S = 600.0
TURN_WAIT_S = 30.0
SHIPPED_MODEL = Path(__file__).parent / "models" / "default"


@dataclass(slots=True)
class Runtime:
    """A started child: its kitchen, and the turn that task and poll loop share."""

    kitchen: Kitchen
    turn: threading.Lock
    stop: threading.Event
    started_at: float

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
    try:
        retire(_runtime)
    except AppError as error:
        log.warning("worker.not_retired", code=error.code)
    _runtime.kitchen.resources.close()


def build(settings: Settings, priorities: tuple[Priority, ...]) -> Runtime:
    """Everything but the threads; the model is registered and warm."""
    from worker.engine.keras_engine import load_engine  # noqa: PLC0415  TensorFlow loads here, after the fork

    resources = build_resources(settings)
    engine = load_engine(model_folder(settings))
    warm_up(engine, settings.batch_limit)
    with resources.database.begin() as session:
        register_model(session, engine.manifest, resources)
    who = Claimant(worker_name(), priorities, settings.batch_limit, settings.lease_s)
    keeper = LeaseKeeper(resources.database, settings.lease_s, settings.run_limit_s)
    return Runtime(Kitchen(resources, engine, who, keeper), threading.Lock(), threading.Event(), time.time())


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


def register_model(session: Session, manifest: ModelManifest, resources: Resources) -> None:
    """Make the model known to results and pages; a no-op where it already is."""
    if session.get(tables.Model, manifest.weights_sha256) is None:
        session.add(
            tables.Model(
                weights_sha256=manifest.weights_sha256,
                name=manifest.name,
                version=manifest.version,
                manifest=manifest.model_dump_json(),
                registered_at=resources.database.now(session),
            )
        )


def poll_loop(runtime: Runtime) -> None:
    """Look for due films without a ring, beat, sweep and purge, until told to stop."""
    settings = runtime.kitchen.resources.settings
    last_beat = last_purge = 0.0
    while not runtime.stop.is_set():
        try:
            if time.monotonic() - last_beat >= BEAT_EVERY_S:
                beat(runtime)
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
        if not is_waiting or runtime.work().claimed == 0:
            return
        beat(runtime)
        sweep.sweep(runtime.kitchen.resources, who.worker)  # a long queue must not hide what dead workers held


def lease_loop(runtime: Runtime) -> None:
    """Renew the leases of the batch in hand."""
    runtime.kitchen.keeper.run(runtime.stop)


def retire(runtime: Runtime) -> None:
    """Take this worker's sign of life back: it ends in order."""
    kitchen = runtime.kitchen
    with kitchen.resources.database.begin() as session:
        session.execute(delete(tables.WorkerHeartbeat).where(tables.WorkerHeartbeat.worker == kitchen.who.worker))


def beat(runtime: Runtime) -> None:
    """Write this worker's sign of life; forget those silent for an hour."""
    kitchen, database = runtime.kitchen, runtime.kitchen.resources.database
    with database.begin() as session:
        now = database.now(session)
        row = session.get(tables.WorkerHeartbeat, kitchen.who.worker)
        if row is None:
            row = tables.WorkerHeartbeat(worker=kitchen.who.worker, started_at=now)
            session.add(row)
        row.queues = ",".join(priority.value for priority in kitchen.who.priorities)
        row.model_sha256, row.device = kitchen.engine.manifest.weights_sha256, kitchen.engine.device
        row.polled_at = now
        silent = tables.WorkerHeartbeat.polled_at < queries.an_hour_before(now)
        session.execute(delete(tables.WorkerHeartbeat).where(silent))
