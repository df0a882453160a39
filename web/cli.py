"""`plainfilm web run`."""

from __future__ import annotations

import typer

from shared.settings import load_settings
from web.run import run as serve

cli = typer.Typer(no_args_is_help=True, add_completion=False)


@cli.callback()
def group() -> None:
    """The web server."""  # without this, Typer would take its one command for the group


@cli.command()
def run() -> None:
    """Serve API and pages with gunicorn and gevent."""
    serve(load_settings())
