"""`plainfilm worker run`, and `plainfilm replay`."""

from __future__ import annotations

from typing import Annotated

import typer

from shared.settings import load_settings
from worker.run import Pool
from worker.run import run as work
from worker.serving import parse_queues

cli = typer.Typer(help="One worker.", no_args_is_help=True, add_completion=False)
replay = typer.Typer(add_completion=False)


@cli.callback()
def group() -> None:
    """Worker pools."""


@cli.command()
def run(
    queues: Annotated[
        str, typer.Option(help="what to serve, comma-separated: priorities, and `explain`")
    ] = "stat,routine,bulk,explain",
    pool: Annotated[
        Pool, typer.Option(help="prefork: Celery restarts the computing process if it dies; solo: a supervisor does")
    ] = "prefork",
) -> None:
    """Run one worker; it takes films first, then explanations. Any number of workers can share a database."""
    work(load_settings(), parse_queues(queues), pool)


@replay.command("replay")
def replay_job(job_id: Annotated[str, typer.Argument(help="one that has an answer")]) -> None:
    """Recompute a stored film's result: exit 0 if it matches the record, 1 if not, 2 if it could not be computed."""
    from worker.replay import run as replay_here  # noqa: PLC0415  its libraries are none of `worker run`'s parent

    raise typer.Exit(replay_here(load_settings(), job_id, typer.echo))
