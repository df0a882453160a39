"""`plainfilm worker run`: one Celery pool process with its child."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from shared.domain import Priority
from shared.errors import InvalidRequest
from shared.log import set_up_logging
from shared.manifest import read_manifest
from shared.settings import load_settings

cli = typer.Typer(help="Worker pools.", no_args_is_help=True)


@cli.callback()
def group() -> None:
    """Worker pools."""


@cli.command()
def run(
    queues: Annotated[str, typer.Option(help="classes to serve, by comma")] = "stat,routine,bulk",
) -> None:
    """Run a worker: claims films of its classes from the database, any number of workers against one."""
    from worker.app import create_celery  # noqa: PLC0415  Celery loads only where it runs
    from worker.boot import model_folder  # noqa: PLC0415
    from worker.engine.weights import load_weights  # noqa: PLC0415

    settings = load_settings()
    set_up_logging(settings.log_level, "worker")
    priorities = parse_queues(queues)
    folder = model_folder(settings)
    load_weights(folder, read_manifest(folder))  # refuse broken weights here, before a child is forked
    celery = create_celery(settings, priorities)
    names = ",".join(priority.value for priority in priorities)
    celery.worker_main([
        "worker", "--pool=prefork", "--concurrency=1", f"--queues={names}", "--without-gossip", "--without-mingle",
        f"--hostname=plainfilm-{os.getpid()}@%h", f"--loglevel={settings.log_level}",
    ])  # fmt: skip


def parse_queues(text: str) -> tuple[Priority, ...]:
    """'stat,routine' to classes, in the order of their rank.

    Raises:
        InvalidRequest: a name is unknown or none is given.
    """
    known = {priority.value: priority for priority in Priority}
    named = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in named if name not in known]
    if unknown or not named:
        raise InvalidRequest(f"Unknown queue {', '.join(unknown) or '(none)'}; known are {', '.join(known)}.")
    return tuple(priority for priority in Priority if priority.value in named)
