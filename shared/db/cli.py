"""`plainfilm db upgrade | current`, and `plainfilm audit verify`."""

from __future__ import annotations

from functools import partial

import typer

from shared import home
from shared.db import audit as chain
from shared.db import audit_rows, migrate, schema
from shared.db.engine import build_database, open_database
from shared.errors import AppError, explain
from shared.settings import load_settings

cli = typer.Typer(help="The database.", no_args_is_help=True)
audit = typer.Typer(no_args_is_help=True)


@cli.command()
def upgrade(revision: str = "head") -> None:
    """Bring the database to this build's schema."""
    settings = load_settings()
    home.prepare(settings, partial(typer.echo, err=True))
    database = build_database(settings)
    migrate.upgrade(database, revision)
    typer.echo(schema.current_revision(database))


@cli.command()
def current() -> None:
    """Print the database's revision and this build's; exit 1 where they differ."""
    found = schema.current_revision(open_database(load_settings()))
    typer.echo(f"database {found or 'none'}, build {schema.HEAD}")
    raise typer.Exit(0 if found == schema.HEAD else 1)


@audit.callback()
def audit_group() -> None:
    """The audit chain."""  # without this, Typer would take its one command for the group


@audit.command()
def verify() -> None:
    """Walk the chain, and hold all jobs against it: exit 0 where both hold, 1 where not, 2 where it cannot be read."""
    try:
        with open_database(load_settings()).read() as session:
            checked, found = chain.verify(session)
            agreed, difference = (0, None) if found else audit_rows.compare(session)
    except AppError as error:
        typer.echo(f"the chain cannot be read: {explain(error)}", err=True)
        raise typer.Exit(2) from error
    if found is not None:
        typer.echo(f"broken at {found.stream} event {found.seq}: {found.problem} ({checked} events hold before it)")
        raise typer.Exit(1)
    typer.echo(f"{checked} events, the chain holds")
    if difference is not None:
        typer.echo(f"job {difference.job_id} is not as the chain says: {difference.problem}")
        raise typer.Exit(1)
    typer.echo(f"{agreed} jobs, each as the chain says")
