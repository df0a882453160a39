"""A worker process: Celery, which receives rings, and the computation, in the same process or in a child of it.

`python -m worker.run` is `plainfilm worker run --pool solo` for all queues, without the imports of the command line.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from shared import home
from shared.exits import end_plainly
from shared.log import set_up_logging
from shared.processes import die_with_parent
from shared.settings import Settings, load_settings
from worker.serving import Serving, model_folder
from worker.shutdown import CeleryEnd, SharedFlag

if TYPE_CHECKING:
    from celery import Celery

Pool = Literal["prefork", "solo"]
"""Names of pools of Celery."""


def run(settings: Settings, serving: Serving, pool: Pool = "prefork") -> None:
    """Run a worker until it is told to stop.

    Args:
        pool: 'prefork' computes in a child, which Celery replaces if it dies; 'solo' computes in this process, which
            a supervisor must restart, and takes a fifth less memory.

    Raises:
        ManifestMismatch: the model folder cannot be used.
        QueueDown: no broker is set.
        DatabaseDown, StorageDown: with 'solo', after the waits for database and films.
    """
    set_up_logging(settings.log_level, "worker")
    home.prepare(settings, partial(print, file=sys.stderr))
    if pool == "solo":
        _work_here(settings, serving)
    else:
        _work_in_child(settings, serving)


def _work_here(settings: Settings, serving: Serving) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())  # until Celery has its own handlers
    from worker import boot  # noqa: PLC0415  it imports numpy and SQL
    from worker.app import create_celery  # noqa: PLC0415  it imports Celery

    celery = create_celery(settings)
    try:
        boot.start(settings, serving, _announce_shutdown())
        _listen(celery, settings, serving, "solo")
    finally:
        boot.stop()


def _work_in_child(settings: Settings, serving: Serving) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork"), die_with_parent, (os.getpid(),)) as apart:
        # in a child of its own, which frees numpy and the arrays when it ends
        checked = apart.submit(_check_weights, model_folder(settings))
        from worker.app import create_celery, work_in_children  # noqa: PLC0415  Celery loads meanwhile

        checked.result()
    work_in_children(settings, serving, _announce_shutdown())
    _listen(create_celery(settings), settings, serving, "prefork")


def _announce_shutdown() -> SharedFlag:
    """Return a flag that is set when Celery receives SIGTERM or SIGINT; it then ends after the running task."""
    from celery.signals import worker_shutting_down  # noqa: PLC0415  Celery loads only where it runs

    announced = SharedFlag()
    worker_shutting_down.connect(announced.set, weak=False)
    return announced


def _listen(celery: Celery, settings: Settings, serving: Serving, pool: Pool) -> None:
    """Receive rings until told to stop.

    Without Celery's heartbeat: no process reads it, and it blocks while the broker hangs.

    Raises:
        SystemExit: Celery failed, with its exit status.
    """
    names = ",".join(serving.queues)
    from celery.signals import worker_shutdown, worker_shutting_down  # noqa: PLC0415  as above

    end = CeleryEnd()  # worker_main does not return the status
    worker_shutting_down.connect(end.note_request, weak=False)
    worker_shutdown.connect(end.note_end, weak=False)
    celery.worker_main([
        "worker", f"--pool={pool}", "--concurrency=1", f"--queues={names}", "--without-gossip", "--without-mingle",
        "--without-heartbeat", f"--hostname=plainfilm-{os.getpid()}@%h", f"--loglevel={settings.log_level}",
    ])  # fmt: skip
    if end.status:
        sys.exit(end.status)


def _check_weights(folder: Path) -> None:
    """Refuse broken weights before Celery starts, which would restart the failing child for ever."""
    from shared.manifest import read_manifest  # noqa: PLC0415
    from worker.engine.weights import load_weights  # noqa: PLC0415

    load_weights(folder, read_manifest(folder))


if __name__ == "__main__":
    end_plainly(lambda: run(load_settings(), Serving(), "solo"), "worker")
