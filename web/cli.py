"""`plainfilm web run`: replaces itself by gunicorn, so that gevent patches a process that has imported nothing yet."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from functools import partial

import typer

from shared import home
from shared.settings import load_settings

cli = typer.Typer(no_args_is_help=True)


@cli.callback()
def group() -> None:
    """The web server."""  # without this, Typer would take its one command for the group


@cli.command()
def run() -> None:
    """Serve API and pages with gunicorn and gevent."""
    settings = load_settings()
    home.prepare(settings, partial(typer.echo, err=True))
    open_as_many_as_allowed()
    options = [
        "--worker-class=gevent",
        f"--workers={settings.web_workers}",
        f"--bind={settings.listens_at}",
        "--no-control-socket",
        "--worker-tmp-dir=/dev/shm" if os.path.isdir("/dev/shm") else "--worker-tmp-dir=/tmp",  # noqa: S108, PTH112
        "--graceful-timeout=20",
        "--timeout=60",
        "--keep-alive=15",
        "--log-level=warning",
    ]
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", *options, "web.wsgi:app"])  # noqa: S606  our own command


def open_as_many_as_allowed() -> None:
    """Raise the soft limit on file descriptors to the hard one: 1,000 connections do not fit the usual 1,024."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # macOS takes no "unlimited"
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
