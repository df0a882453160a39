"""`plainfilm worker run`: one Celery pool process with its child."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from shared import home
from shared.log import set_up_logging
from shared.processes import die_with_parent
from shared.settings import load_settings
from worker.serving import model_folder, parse_queues

cli = typer.Typer(help="Worker pools.", no_args_is_help=True)


@cli.callback()
def group() -> None:
    """Worker pools."""


@cli.command()
def run(
    queues: Annotated[
        str, typer.Option(help="what to serve, by comma: classes of films, and `explain`")
    ] = "stat,routine,bulk,explain",
) -> None:
    """Run a worker: claims its work from the database, films before explanations; any number against one."""
    settings = load_settings()
    set_up_logging(settings.log_level, "worker")
    home.prepare(settings, partial(typer.echo, err=True))
    serving = parse_queues(queues)
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
