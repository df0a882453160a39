"""The start of the process that computes: logging, wiring, the engine loaded once and warm, then threads, `LOOPS`.

In a prefork pool that is the pool's child, and the model is loaded here, after the fork: loaded before it, the child
hangs. A process that cannot start ends, instead of living on without a model; it first waits for a database, or films,
that are away.
"""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from shared.db import explanation_queries, queries, schema
from shared.db.engine import Database
from shared.db.film_folder import FilmFolder
from shared.db.line import Claimant
from shared.domain import Verdict
from shared.errors import AppError, DatabaseDown, ManifestMismatch, StorageDown
from shared.log import get_logger, set_up_logging
from shared.manifest import ModelManifest, read_manifest
from shared.model_report import ModelReport, read_report
from shared.processes import keep_freed_memory
from shared.settings import Settings
from shared.wiring import build_resources
from worker import heartbeat, pipeline, retention, sweep
from worker.engine.base import Engine
from worker.engine.explain import Explainer
from worker.engine.golden import GoldenState, read_golden
from worker.engine.weights import Weights, load_weights
from worker.explain import Desk, explain_next
from worker.lease import LeaseKeeper
from worker.load import choose_batch_limit, load_engine
from worker.serving import Serving, model_folder
from worker.stages import BatchReport, Kitchen

log = get_logger(__name__)

BEAT_EVERY_S = 4.0
TEND_EVERY_S = 1.0
"""While films are due; the sweeper's turn, 3 s, is what a dead worker's films may wait longer."""

DATABASE_PATIENCE_S = 90.0
"""Less than the 120 s after which Celery kills a prefork child that has not reported."""

FILMS_PAUSE_S = 1.0
FILMS_PATIENCE_S = 20.0
"""The rest of those 120 s is for the model."""

LOOKS: Final = 2
"""Looks in a row that may find films due and none to claim: other workers have just taken them."""

TURN_WAIT_S = 30.0


@dataclass(slots=True)
class Runtime:
    """A started worker: its kitchen, and the turn that task and poll loop share.

    `stop` ends the poll loop, `woken` makes it look for films at once; `ended` is set when the last batch is done, and
    with it the other loops. Without a `desk` it makes no explanations, and where `has_films` is not set it claims none.
    """

    kitchen: Kitchen
    turn: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)
    woken: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    desk: Desk | None = None
    golden: GoldenState = GoldenState.ABSENT
    tended_at: float = 0.0
    has_films: bool = True

    def work(self) -> BatchReport:
        """Process some batches, unless the other thread is long at it. Look again after it: see `pipeline.process`."""
        if not self.has_films or not self.turn.acquire(timeout=TURN_WAIT_S):
            return BatchReport()
        try:
            return pipeline.process(self.kitchen)
        finally:
            self.turn.release()

    def tend(self) -> None:
        """Beat, and sweep: a long queue must not hide what dead workers held. Not after every batch."""
        if time.monotonic() - self.tended_at >= TEND_EVERY_S:
            self.tended_at = time.monotonic()
            self.look_for_films()
            self.beat()
            sweep.sweep(self.kitchen.resources, self.kitchen.who.worker)

    def look_for_films(self) -> None:
        """Is their folder still there? Until it is, nothing is claimed, and this worker does not count as alive.

        Raises:
            StorageDown: it is not.
        """
        self.has_films = False
        self.kitchen.resources.blobs.check()
        self.has_films = True

    def beat(self) -> None:
        """Write this worker's sign of life."""
        heartbeat.beat(self.kitchen, Serving(self.kitchen.who.priorities, explains=self.desk is not None), self.golden)

    def explain(self) -> bool:
        """Make one explanation; False where none is due or a film is, or the other thread is long at its work."""
        if self.desk is None or not self.has_films or not self.turn.acquire(timeout=TURN_WAIT_S):
            return False
        try:  # asked in our turn: a film may have come, or the word to end
            return not self.stop.is_set() and _is_map_next(self.kitchen) and explain_next(self.desk)
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


def start(settings: Settings, serving: Serving) -> Runtime:
    """Start this process as the one that computes; what goes wrong is raised, and then it must end."""
    global _runtime  # noqa: PLW0603  one runtime a process, set once
    keep_freed_memory()
    set_up_logging(settings.log_level, "worker")
    _runtime = build(settings, serving)
    gc.freeze()  # what is built stays: looking through it for garbage would stop this process for 50 ms now and then
    for name, loop in LOOPS.items():
        threading.Thread(target=loop, args=(_runtime,), name=name, daemon=True).start()
    log.info("worker.started", worker=_runtime.kitchen.who.worker, device=_runtime.kitchen.engine.device)
    return _runtime


def begin_no_more(**_sent: object) -> None:
    """Begin no other explanation: called from a signal's handler, so it wakes nobody, which might hold a lock."""
    if _runtime is not None:
        _runtime.stop.set()


def stop() -> None:
    """End the worker's threads: the batch in hand is finished first, and the sign of life taken back."""
    if _runtime is None:
        return
    _runtime.stop.set()
    _runtime.woken.set()
    _runtime.turn.acquire(timeout=TURN_WAIT_S)
    _runtime.ended.set()
    try:
        _runtime.kitchen.resources.queue.forget(_runtime.kitchen.who.worker)
        heartbeat.retire(_runtime.kitchen.resources.database, _runtime.kitchen.who.worker)
    except AppError as error:
        log.warning("worker.not_retired", code=error.code)
    _runtime.kitchen.resources.close()


def build(settings: Settings, serving: Serving) -> Runtime:
    """Everything but the threads; the model is registered and warm. A wrong one is told before anything is waited for.

    Raises:
        ManifestMismatch: the model's folder cannot be used.
        QueueDown: no broker is known.
        DatabaseDown, StorageDown: away for as long as is waited for them.
    """
    folder = model_folder(settings)
    manifest = read_manifest(folder)
    weights = load_weights(folder, manifest)
    check_labels(manifest)
    resources = build_resources(settings)
    wait_for_database(resources.database)
    wait_for_films(resources.films)
    engine, golden = load_engine(settings, manifest, weights, read_golden(folder))
    batch_limit = choose_batch_limit(settings, engine)
    warm_up(engine, batch_limit)
    if golden is GoldenState.ABSENT:
        log.warning("worker.no_golden_films", model=engine.manifest.name)
    heartbeat.register_model(resources.database, engine.manifest, find_report(folder, engine.manifest))
    who = Claimant(worker_name(), serving.priorities, batch_limit, settings.lease_s, settings.aged_after_s)
    keeper = LeaseKeeper(resources.database, settings.lease_s, settings.run_limit_s)
    kitchen = Kitchen(resources, engine, who, keeper)
    desk = make_desk(kitchen, weights) if serving.explains else None
    return Runtime(kitchen, desk=desk, golden=golden)


def make_desk(kitchen: Kitchen, weights: Weights) -> Desk:
    """Where explanations are made beside the kitchen, by the weights it serves; the explainer is built at the first."""
    manifest = kitchen.engine.manifest

    def load() -> Explainer:
        from worker.engine.keras_explainer import build_explainer  # noqa: PLC0415  its graphs cost memory

        return build_explainer(manifest, weights.architecture, weights.arrays)

    return Desk(
        kitchen.resources, kitchen.who.worker, manifest.weights_sha256, kitchen.who.lease_s, kitchen.keeper, load
    )


def wait_for_database(database: Database, patience_s: float = DATABASE_PATIENCE_S) -> None:
    """Return once the database answers at this build's schema; asked with growing pauses, before TensorFlow loads.

    Raises:
        DatabaseDown: not within `patience_s`; who starts this process again has it wait again.
    """
    give_up_at, pause_s = time.monotonic() + patience_s, 0.5
    while True:
        try:
            found = schema.current_revision(database)
            why = None
        except DatabaseDown as error:
            found, why = "unreachable", error.facts.get("why")
        if found == schema.HEAD:
            return
        if time.monotonic() + pause_s > give_up_at:
            raise DatabaseDown(f"The database is {found or 'not migrated'}; this build needs {schema.HEAD}.")
        log.warning("database.awaited", found=found, needed=schema.HEAD, why=why)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 8.0)


def wait_for_films(films: FilmFolder, patience_s: float = FILMS_PATIENCE_S) -> None:
    """Return once the folder of this database's films is there: a web process marks it at its first start.

    Raises:
        StorageDown: not within `patience_s`; who starts this process again has it wait again.
        DatabaseDown: the database cannot be asked.
    """
    give_up_at = time.monotonic() + patience_s
    while True:
        try:
            films.open(may_mark=False)
        except StorageDown as error:
            log.warning("films.awaited", why=error.detail)
            if time.monotonic() > give_up_at:
                raise
            time.sleep(FILMS_PAUSE_S)
        else:
            return


def find_report(folder: Path, manifest: ModelManifest) -> ModelReport | None:
    """What was measured on this model; a report that is broken, or of other weights, is left out and logged."""
    try:
        return read_report(folder, manifest.weights_sha256)
    except ManifestMismatch as error:
        log.warning("worker.no_report", code=error.code)
        return None


def check_labels(manifest: ModelManifest) -> None:
    """Every label must be a verdict that results and pages know.

    Raises:
        ManifestMismatch: names the label that is not.
    """
    unknown = [label for label in manifest.labels if label not in set(Verdict)]
    if unknown:
        raise ManifestMismatch(f"The model's label '{unknown[0]}' is no verdict of this build.")


def worker_name() -> str:
    """Host and process id: unique among the living."""
    return f"{socket.gethostname()[:64]}:{os.getpid()}"


def warm_up(engine: Engine, batch_limit: int) -> None:
    """One film and one full batch: the first real film should not pay for the trace."""
    for n in (1, batch_limit):
        engine.infer(np.zeros((n, *engine.manifest.input_shape), np.float32))


def poll_loop(runtime: Runtime) -> None:
    """Look for due films without a ring, beat and sweep, until told to stop."""
    last_beat = 0.0
    while not runtime.stop.is_set():
        with _logging_faults("poll.failed"):
            runtime.look_for_films()
            if time.monotonic() - last_beat >= BEAT_EVERY_S:
                runtime.beat()
                last_beat = time.monotonic()
            if not runtime.turn.locked():  # else the other thread notes it when it is done
                pipeline.note_idle(runtime.kitchen)
            drain(runtime)
            explain_due(runtime)
            sweep.sweep(runtime.kitchen.resources, runtime.kitchen.who.worker)
        rest(runtime)


def rest(runtime: Runtime) -> None:
    """Wait for the next poll; woken by a task, look for films meanwhile."""
    poll_at = time.monotonic() + runtime.kitchen.resources.settings.poll_s
    while (left_s := poll_at - time.monotonic()) > 0 and runtime.woken.wait(left_s) and not runtime.stop.is_set():
        runtime.woken.clear()
        with _logging_faults("poll.failed"):
            drain(runtime)


@contextmanager
def _logging_faults(event: str) -> Iterator[None]:
    """A loop goes on, whatever fails in one turn of it."""
    try:
        yield
    except AppError as error:
        log.warning(event, code=error.code, why=error.detail)
    except Exception:
        log.exception(event)


def drain(runtime: Runtime) -> None:
    """Process batches while films are due; reads before it takes a write lock.

    A look that found nothing to claim is taken once more: a film that came in between may not have been rung for.
    """
    database, who = runtime.kitchen.resources.database, runtime.kitchen.who
    looks = LOOKS
    while looks and not runtime.stop.is_set():
        with database.read_core() as sql:
            is_waiting = queries.has_due(sql, database.now(sql), who.priorities)
        if not is_waiting:
            return
        looks = LOOKS if runtime.work().claimed else looks - 1
        if not runtime.stop.is_set():
            runtime.tend()


def explain_due(runtime: Runtime) -> None:
    """Explain while something waits for it and no film does: a film waits for one explanation at the most."""
    while runtime.desk is not None and not runtime.stop.is_set():
        if not _is_map_next(runtime.kitchen) or not runtime.explain() or runtime.stop.is_set():
            return
        runtime.beat()
        sweep.sweep(runtime.kitchen.resources, runtime.kitchen.who.worker)  # it may find films that dead workers held


def _is_map_next(kitchen: Kitchen) -> bool:
    database, model_sha256 = kitchen.resources.database, kitchen.engine.manifest.weights_sha256
    with database.read_core() as sql:
        now = database.now(sql)
        is_due = explanation_queries.has_due(sql, now, model_sha256)
        return is_due and not queries.has_due(sql, now, kitchen.who.priorities)


def beat_loop(runtime: Runtime) -> None:
    """Beat while a batch or an explanation is in hand: it may take longer than a silent worker counts as alive."""
    while not runtime.ended.wait(BEAT_EVERY_S):
        with _logging_faults("beat.failed"):
            if runtime.turn.locked() and not runtime.stop.is_set():
                runtime.beat()


def lease_loop(runtime: Runtime) -> None:
    """Renew the leases of what is in hand."""
    runtime.kitchen.keeper.run(runtime.ended)


def limit_loop(runtime: Runtime) -> None:
    """End the process past the run limit, whatever the database does."""
    runtime.kitchen.keeper.watch(runtime.ended)


def purge_loop(runtime: Runtime) -> None:
    """Delete what was kept for its time, and orphans, now and then: it takes long, and nobody waits for it."""
    resources, worker = runtime.kitchen.resources, runtime.kitchen.who.worker
    while not runtime.ended.wait(sweep.PURGE_EVERY_S):
        for purge in (retention.delete_old, sweep.purge_orphans):
            with _logging_faults("purge.failed"):
                purge(resources, worker)


LOOPS: Final[Mapping[str, Callable[[Runtime], None]]] = MappingProxyType(
    {"poll": poll_loop, "lease": lease_loop, "limit": limit_loop, "beat": beat_loop, "purge": purge_loop}
)
"""A worker's threads, beside the one that Celery gives its tasks."""
