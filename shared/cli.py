"""`plainfilm`: finds its sub-commands by entry point and loads one only when it is named.

So `plainfilm web` never imports TensorFlow, and a missing extra gives one helpful line.
"""

from __future__ import annotations

import importlib.metadata
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from shared.domain import AgainReason, Priority
from shared.exits import EXTRAS, end_plainly, what_to_install
from shared.moments import read_moment
from shared.settings import find_unknown, load_settings

GROUP = "plainfilm.commands"
HELP = {
    "audit": "The audit chain.",
    "crossval": "Cross-validate a recipe.",
    "db": "The database.",
    "evaluate": "Measure a model on labelled films.",
    "jobs": "Jobs: list, show, wait, cancel, delete.",
    "key": "API keys and links into the pages.",
    "model": "Model folders.",
    "replay": "Recompute a stored film's result, and compare it with the record.",
    "samples": "Make sample films.",
    "tenant": "Tenants: each sees only its own films.",
    "train": "Train a model on labelled films.",
    "web": "The web server.",
    "webhook": "Webhooks: addresses that are notified when jobs end.",
    "worker": "Workers, which classify films.",
}
"""Help texts of the commands that are not loaded for the list of commands."""


class LazyGroup(TyperGroup):
    """The sub-commands of this file, and those of the installed packages."""

    def list_commands(self, ctx: Any) -> list[str]:  # Any: Typer keeps its context type private
        """Return all names, those of this file first."""
        return [*super().list_commands(ctx), *sorted(_entry_points())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # likewise
        """Return the command as the list shows it; `resolve_command` loads the one that was named."""
        built_in = super().get_command(ctx, cmd_name)
        if built_in is not None or cmd_name not in _entry_points():
            return built_in
        return TyperCommand(cmd_name, help=HELP.get(cmd_name))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:  # likewise
        """Load the command that was named."""
        name, command, rest = super().resolve_command(ctx, args)
        entry_point = _entry_points().get(name or "")
        if entry_point is None or name in self.commands:
            return name, command, rest
        try:
            return name, typer.main.get_command(entry_point.load()), rest
        except ModuleNotFoundError as error:
            sys.exit(what_to_install(entry_point.name, error))


cli = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Classify chest X-rays asynchronously. Research use; not a medical device.",
)


@cli.command()
def up() -> None:
    """Run the whole service on this machine: broker, database, web, worker."""
    from shared.up import up as run  # noqa: PLC0415  only this command needs its imports

    run(load_settings(), typer.echo)


@cli.command()
def doctor() -> None:
    """Report what is missing on this machine and how to install it; exit 1 if anything required is missing."""
    from shared.doctor import examine  # noqa: PLC0415

    checks = examine(load_settings())
    for check in checks:
        typer.echo(f"{check.mark}  {check.subject}: {check.state}")
    raise typer.Exit(1 if any(check.is_needed and not check.is_fine for check in checks) else 0)


@cli.command()
def backup(folder: Annotated[Path, typer.Argument(help="folder to write; new or empty")]) -> None:
    """Copy database, films and keys to a folder that can serve as PLAINFILM_HOME; the service may keep running."""
    from shared.backup import back_up  # noqa: PLC0415

    copied = back_up(load_settings(), folder.absolute(), typer.echo)
    typer.echo(f"films: {copied.films}")
    for job_id in copied.missing_jobs:
        typer.echo(f"job {job_id}: its film is missing or damaged, or was deleted meanwhile", err=True)
    typer.echo(f"to start from it: PLAINFILM_HOME={folder.absolute()} plainfilm up")
    raise typer.Exit(1 if copied.missing_jobs else 0)


@cli.command()
def classify(
    files: Annotated[
        list[Path], typer.Argument(help="PNG, JPEG or DICOM films, or folders (with their subfolders) or ZIPs of them")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,  # noqa: FBT002  a flag
    priority: Annotated[Priority, typer.Option(help="urgency: stat before routine before bulk")] = Priority.ROUTINE,
    batch: Annotated[bool, typer.Option("--batch", help="as one batch, to follow and cancel as a unit")] = False,  # noqa: FBT002  likewise
) -> None:
    """Send films to the service, wait for the results, and print them."""
    from shared.classify import run  # noqa: PLC0415
    from shared.client import open_client  # noqa: PLC0415

    with open_client(load_settings()) as client:
        raise typer.Exit(run(client, files, as_json=as_json, priority=priority, as_batch=batch))


@cli.command()
def again(
    reasons: Annotated[list[AgainReason], typer.Argument(help="status of a film's newest job, or other-model")],
    since: Annotated[
        datetime | None, typer.Option(parser=read_moment, metavar="TIME", help="only jobs created since then, in UTC")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,  # noqa: FBT002  a flag
    priority: Annotated[Priority, typer.Option(help="urgency: stat before routine before bulk")] = Priority.BULK,
) -> None:
    """Classify stored films again, wait, and print the results; run it again to resume if it was interrupted."""
    from shared.again import run  # noqa: PLC0415
    from shared.client import open_client  # noqa: PLC0415

    with open_client(load_settings()) as client:
        first = None if since is None else since.isoformat()
        raise typer.Exit(run(client, reasons, since=first, priority=priority, as_json=as_json))


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}


def main() -> None:
    """Run the console script."""
    for line in find_unknown():
        sys.stderr.write(f"plainfilm: {line}\n")
    end_plainly(cli, next((word for word in sys.argv[1:] if word in EXTRAS), None))


if __name__ == "__main__":
    main()
