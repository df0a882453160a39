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
        str, typer.Option(help="what to serve, by comma: classes of films, and `explain`")
    ] = "stat,routine,bulk,explain",
    pool: Annotated[
        Pool, typer.Option(help="prefork: Celery starts what computes again where it dies; solo: a supervisor does")
    ] = "prefork",
) -> None:
    """Run a worker: claims its work from the database, films before explanations; any number against one."""
    work(load_settings(), parse_queues(queues), pool)


@replay.command("replay")
def replay_job(job_id: Annotated[str, typer.Argument(help="one that has an answer")]) -> None:
    """Compute a stored film's answer anew: exit 0 the same as recorded, 1 not the same, 2 it could not be tried."""
    from worker.replay import run as replay_here  # noqa: PLC0415  its libraries are none of `worker run`'s parent

    raise typer.Exit(replay_here(load_settings(), job_id, typer.echo))
