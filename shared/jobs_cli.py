"""`plainfilm jobs …`: list jobs, show them, wait for them, cancel and delete them, over the API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Annotated

import typer
from rich.console import Console

from shared import jobs_table, wire
from shared.classify import in_flight, show
from shared.client import PAGE_SIZE, Client, Refused, open_client
from shared.domain import JobState, Verdict
from shared.moments import read_moment
from shared.settings import load_settings

cli = typer.Typer(help="Jobs: list, show, wait, cancel, delete.", no_args_is_help=True, add_completion=False)

JobIds = Annotated[list[str], typer.Argument(metavar="ID...", help="as `plainfilm jobs list` prints them")]
AsJson = Annotated[bool, typer.Option("--json", help="one job a line, as the API gives it")]


@cli.command("list")
def list_jobs(  # noqa: PLR0913  an option for each filter
    *,
    status: Annotated[JobState | None, typer.Option(help="only jobs of this status")] = None,
    verdict: Annotated[Verdict | None, typer.Option(help="only jobs with this verdict")] = None,
    batch: Annotated[str | None, typer.Option(help="only jobs of this batch")] = None,
    since: Annotated[
        datetime | None, typer.Option(parser=read_moment, metavar="TIME", help="only jobs made then or later, in UTC")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(parser=read_moment, metavar="TIME", help="only jobs made before then, in UTC")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="how many, newest first")] = 50,
    as_json: AsJson = False,
) -> None:
    """Print jobs, newest first."""
    given = {"status": status, "verdict": verdict, "batch": batch, "since": _written(since), "until": _written(until)}
    filters = {name: value for name, value in given.items() if value is not None}
    with open_client(load_settings()) as client:
        jobs = islice(client.all_jobs(filters, min(limit, PAGE_SIZE)), limit)
        if as_json:
            for job in jobs:
                typer.echo(job.model_dump_json())
            return
        _print_list(list(jobs))


@cli.command("show")
def show_jobs(
    job_ids: JobIds,
    *,
    as_json: AsJson = False,
) -> None:
    """Print all that is known of jobs."""

    def show_one(client: Client, job_id: str) -> None:
        job = client.get(job_id)
        if as_json:
            typer.echo(job.model_dump_json())
        else:
            Console().print(jobs_table.make_details(job, client.address_of), "")

    _for_each(job_ids, show_one)


@cli.command()
def wait(
    job_ids: JobIds,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="one result a line, as of `plainfilm classify`")] = False,
) -> None:
    """Wait until jobs have ended, and print their results; exit 1 if any has none."""
    with open_client(load_settings()) as client:
        ended = in_flight(client, ((job_id, _find(client, job_id)) for job_id in job_ids))
        named = (replace(outcome, kind="job_id") for outcome in ended)
        outcomes = show(named, len(job_ids), Console(stderr=True), as_json=as_json)
    raise typer.Exit(1 if any(outcome.error for outcome in outcomes) else 0)


@cli.command()
def cancel(job_ids: JobIds) -> None:
    """Cancel jobs that have not ended; a result that is already being computed is not published."""
    _for_each(job_ids, lambda client, job_id: typer.echo(f"{job_id} is {client.cancel(job_id).status.value}"))


@cli.command()
def delete(
    job_ids: JobIds,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Delete films, results, maps and reviews of jobs permanently; their audit trails stay."""
    if not yes:
        typer.confirm(f"Delete {len(job_ids)} {'job' if len(job_ids) == 1 else 'jobs'} permanently?", abort=True)

    def delete_one(client: Client, job_id: str) -> None:
        client.delete(job_id)
        typer.echo(f"{job_id} is deleted")

    _for_each(job_ids, delete_one)


def _for_each(job_ids: Sequence[str], act: Callable[[Client, str], None]) -> None:
    """Call `act` for each job, print why one was refused and go on; exit 1 if any was."""
    n_refused = 0
    with open_client(load_settings()) as client:
        for job_id in job_ids:
            try:
                act(client, job_id)
            except Refused as error:
                n_refused += 1
                typer.echo(f"{job_id}: {error.detail}", err=True)
    if n_refused:
        raise typer.Exit(1)


def _find(client: Client, job_id: str) -> wire.Job | str:
    """Return the job, or why there is none."""
    try:
        return client.get(job_id)
    except Refused as error:
        return error.detail


def _print_list(jobs: Sequence[wire.Job]) -> None:
    if not jobs:
        typer.echo("no jobs", err=True)
        return
    console = Console()
    console.print(jobs_table.make_list(jobs))
    console.print(wire.NOTICE.capitalize() + ".", style="dim")


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
