"""`plainfilm db upgrade | current`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from shared import home
from shared.db import migrate, schema
from shared.db.engine import build_database, open_database
from shared.settings import load_settings

cli = typer.Typer(help="The database.", no_args_is_help=True, add_completion=False)


@cli.command()
def upgrade(
    revision: Annotated[str, typer.Option(help="revision to upgrade to; by default this build's")] = "head",
) -> None:
    """Bring the database to this build's schema."""
    settings = load_settings()
    home.prepare(settings, partial(typer.echo, err=True))
    with build_database(settings) as database:
        migrate.upgrade(database, revision)
        typer.echo(schema.current_revision(database))


@cli.command()
def current() -> None:
    """Print the database's revision and this build's; exit 1 where they differ."""
    with open_database(load_settings()) as database:
        revision = schema.current_revision(database)
    typer.echo(f"database {revision or 'none'}, build {schema.HEAD}")
    raise typer.Exit(0 if revision == schema.HEAD else 1)
