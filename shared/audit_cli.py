"""`plainfilm audit verify` and `anchor`, over the database, and `plainfilm audit show`, over the API."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from shared.errors import AppError, explain
from shared.settings import load_settings

if TYPE_CHECKING:
    from shared.audit_wire import AuditEvent

cli = typer.Typer(help="The audit chain.", no_args_is_help=True, add_completion=False)

DIGEST_LENGTH: Final = 64
SHOWN_OF_DIGEST: Final = 12
WIDTH: Final = 110


@cli.command()
def verify(
    anchors: Annotated[
        list[Path] | None,
        typer.Option(
            "--anchors", help="file with lines of `audit anchor`, or a worker's log: the chain must hold them"
        ),
    ] = None,
    films: Annotated[bool, typer.Option("--films", help="also read all stored films and check their SHA-256")] = False,  # noqa: FBT002  a flag
) -> None:
    """Verify the chain, and all jobs against it: exit 0 if both are intact, 1 if not, 2 if it cannot be read."""
    from shared.audit_check import check_all  # noqa: PLC0415  `show` does without

    try:
        is_intact = check_all(load_settings(), anchors or [], films=films, say=typer.echo)
    except (AppError, OSError) as error:
        why = explain(error) if isinstance(error, AppError) else f"{error.filename}: {error.strerror}"
        typer.echo(f"not verified: {why}", err=True)
        raise typer.Exit(2) from error
    if not is_intact:
        raise typer.Exit(1)


@cli.command()
def anchor() -> None:
    """Print the newest event of each tenant's chain as JSON, to be kept outside the database."""
    from shared.db.audit_anchors import read_heads  # noqa: PLC0415  likewise
    from shared.db.engine import open_database  # noqa: PLC0415

    with open_database(load_settings()) as database, database.read() as session:
        for head in read_heads(session):
            typer.echo(head.as_json())


@cli.command()
def show(
    job_id: Annotated[str, typer.Argument(help="any job whose audit trail the key may read, including deleted jobs")],
    as_json: Annotated[bool, typer.Option("--json", help="as one JSON object, with whole digests")] = False,  # noqa: FBT002  a flag
) -> None:
    """Print the audit trail of a job, oldest event first."""
    from shared.client import open_client  # noqa: PLC0415  `verify` does without

    with open_client(load_settings()) as client:
        trail = client.get_audit(job_id)
    if as_json:
        typer.echo(trail.model_dump_json())
        return
    for event in trail.events:
        for line in format_event(event):
            typer.echo(line)


def format_event(event: AuditEvent) -> list[str]:
    """Return an event as lines: time, action, actor and place in the chain, then the facts, long values truncated."""
    head = f"{event.at:%Y-%m-%dT%H:%M:%SZ}  {event.action}  {event.actor}  event {event.seq} {_cut(event.hash)}"
    facts = " ".join(f"{name}={_short(value)}" for name, value in event.facts.items())
    indent = " " * 4
    return [head, *textwrap.wrap(facts, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False)]


def _short(value: object) -> str:
    if isinstance(value, str):
        return _cut(value) if len(value) == DIGEST_LENGTH else value
    text = json.dumps(value, separators=(",", ":"))
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}…"


def _cut(digest: str) -> str:
    return f"{digest[:SHOWN_OF_DIGEST]}…"
