"""Start and end of the process that computes: logging, wiring, the engine loaded once and warm, the threads of `LOOPS`.

In a prefork pool this process is the child of the pool. The model is loaded here, after the fork: if it were loaded
before, the child would hang. The start waits for an unavailable database or film folder; if it then fails, the process
ends instead of running without a model.
"""

from __future__ import annotations

import gc
import os
import socket
import threading
from pathlib import Path

import numpy as np

from shared.db.claim_order import Claimant
from shared.domain import Verdict
from shared.errors import AppError, ManifestMismatch
from shared.log import get_logger, set_up_logging
from shared.manifest import ModelManifest, read_manifest
from shared.model_report import ModelReport, read_report
from shared.processes import keep_freed_memory
from shared.settings import Settings
from shared.version import CODE_VERSION
from shared.wiring import build_resources
from worker import heartbeat
from worker.awaiting import wait_for_database, wait_for_films
from worker.engine.base import Engine
from worker.engine.explain import Explainer
from worker.engine.golden import GoldenState, read_golden
from worker.engine.weights import Weights, load_weights
from worker.explain import Desk
from worker.lease import LeaseKeeper
from worker.load import choose_batch_limit, load_serving_engine
from worker.loops import LOOPS
from worker.runtime import Runtime
from worker.serving import Serving, model_folder
from worker.shutdown import SharedFlag, Shutdown
from worker.stages import Kitchen

log = get_logger(__name__)

_runtime: Runtime | None = None


def current() -> Runtime:
    """Return the runtime of this process.

    Raises:
        RuntimeError: the process was not started by `start`.
    """
    if _runtime is None:
        raise RuntimeError("this process was not started as a worker")
    return _runtime


def start(settings: Settings, serving: Serving, announced: SharedFlag | None = None) -> Runtime:
    """Start this process as the one that computes; on any error the caller must end it.

    Args:
        announced: set when Celery receives SIGTERM.

    Raises:
        ManifestMismatch, QueueDown, DatabaseDown, StorageDown: as `build` does.
    """
    global _runtime  # noqa: PLW0603  one runtime a process, set once
    keep_freed_memory()
    set_up_logging(settings.log_level, "worker")
    _runtime = build(settings, serving, announced)
    gc.freeze()  # these objects stay: collections that traverse them would pause this process for 50 ms each
    for name, loop in LOOPS.items():
        threading.Thread(target=loop, args=(_runtime,), name=name, daemon=True).start()
    kitchen = _runtime.kitchen
    log.info("worker.started", worker=kitchen.who.worker, device=kitchen.engine.device, version=CODE_VERSION)
    return _runtime


def stop() -> None:
    """End the threads of the worker once the films and explanations in hand are done, and delete its heartbeat."""
    if _runtime is None:
        return
    _runtime.end()
    try:
        _runtime.kitchen.resources.queue.forget(_runtime.kitchen.who.worker)
        _runtime.retire()
    except AppError as error:
        log.warning("worker.not_retired", code=error.code)
    log.info("worker.ended", worker=_runtime.kitchen.who.worker, version=CODE_VERSION)
    _runtime.kitchen.resources.close()


def build(settings: Settings, serving: Serving, announced: SharedFlag | None = None) -> Runtime:
    """Build the runtime without its threads, with its model registered and warm.

    The model folder is checked first, before the waits for the database and the films.

    Raises:
        ManifestMismatch: the model's folder cannot be used.
        QueueDown: no broker is known.
        DatabaseDown, StorageDown: still unavailable after the wait for them.
        EndedWhileWaiting: the worker was told to end meanwhile.
    """
    folder = model_folder(settings)
    manifest = read_manifest(folder)
    weights = load_weights(folder, manifest)
    check_labels(manifest)
    resources = build_resources(settings)
    wait_for_database(resources.database, announced=announced)
    wait_for_films(resources.films, announced=announced)
    engine, golden = load_serving_engine(settings, manifest, weights, read_golden(folder))
    batch_limit = choose_batch_limit(settings, engine)
    warm_up(engine, batch_limit)
    if golden is GoldenState.ABSENT:
        log.warning("worker.no_golden_films", model=engine.manifest.name)
    heartbeat.register_model(resources.database, engine.manifest, find_report(folder, engine.manifest))
    who = Claimant(worker_name(), serving.priorities, batch_limit, settings.lease_s, settings.aged_after_s)
    keeper = LeaseKeeper(resources.database, settings.lease_s, settings.run_limit_s)
    kitchen = Kitchen(resources, engine, who, keeper)
    desk = make_desk(kitchen, weights) if serving.explains else None
    return Runtime(kitchen, serving, desk, golden, Shutdown(announced))


def make_desk(kitchen: Kitchen, weights: Weights) -> Desk:
    """Return the desk that explains with the weights the kitchen serves; its explainer is built at first use."""
    manifest = kitchen.engine.manifest

    def load() -> Explainer:
        from worker.engine.keras_explainer import build_explainer  # noqa: PLC0415  its graphs cost memory

        return build_explainer(manifest, weights.architecture, weights.arrays)

    return Desk(
        kitchen.resources, kitchen.who.worker, manifest.weights_sha256, kitchen.who.lease_s, kitchen.keeper, load
    )


def find_report(folder: Path, manifest: ModelManifest) -> ModelReport | None:
    """Return the report of this model; None, and a log line, if it is broken or belongs to other weights."""
    try:
        return read_report(folder, manifest.weights_sha256)
    except ManifestMismatch as error:
        log.warning("worker.no_report", code=error.code)
        return None


def check_labels(manifest: ModelManifest) -> None:
    """Check that each label of the model is a verdict of this build.

    Raises:
        ManifestMismatch: names the unknown label.
    """
    unknown = [label for label in manifest.labels if label not in set(Verdict)]
    if unknown:
        raise ManifestMismatch(f"The model's label '{unknown[0]}' is no verdict of this build.")


def worker_name() -> str:
    """Return host and process id, which are unique among the workers alive."""
    return f"{socket.gethostname()[:64]}:{os.getpid()}"


def warm_up(engine: Engine, batch_limit: int) -> None:
    """Infer one film and one full batch, so that the engine is traced before the first real film."""
    for n in (1, batch_limit):
        engine.infer(np.zeros((n, *engine.manifest.input_shape), np.float32))
