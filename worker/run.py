"""A worker's process: one Celery pool with its child.

`python -m worker.run` is `plainfilm worker run` for all queues, less the command line's imports.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from shared import home
from shared.exits import end_plainly
from shared.log import set_up_logging
from shared.processes import die_with_parent
from shared.settings import Settings, load_settings
from worker.serving import Serving, model_folder


def run(settings: Settings, serving: Serving) -> None:
    """Work until told to stop.

    Raises:
        ManifestMismatch: the model's folder cannot be used.
        QueueDown: no broker is known.
    """
    set_up_logging(settings.log_level, "worker")
    home.prepare(settings, partial(print, file=sys.stderr))
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork"), die_with_parent, (os.getpid(),)) as apart:
        # apart, so that its numpy and arrays end with it
        checked = apart.submit(_check_weights, model_folder(settings))
        from worker.app import create_celery  # noqa: PLC0415  Celery loads only where it runs, and meanwhile

        checked.result()
    celery = create_celery(settings, serving)
    names = ",".join(serving.queues)
    celery.worker_main([
        "worker", "--pool=prefork", "--concurrency=1", f"--queues={names}", "--without-gossip", "--without-mingle",
        f"--hostname=plainfilm-{os.getpid()}@%h", f"--loglevel={settings.log_level}",
    ])  # fmt: skip


def _check_weights(folder: Path) -> None:
    """Broken weights are refused before a pool child is forked, which would fail, and its next one, for ever."""
    from shared.manifest import read_manifest  # noqa: PLC0415
    from worker.engine.weights import load_weights  # noqa: PLC0415

    load_weights(folder, read_manifest(folder))


if __name__ == "__main__":
    end_plainly(lambda: run(load_settings(), Serving()), "worker")
