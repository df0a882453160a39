"""Starts the web server: replaces its own process by gunicorn, so that gevent patches a process without our imports.

`python -m web.run` is `plainfilm web run` without the imports of the command line; `plainfilm up` passes it a socket.
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from functools import partial
from typing import Final

from shared import home
from shared.exits import end_plainly
from shared.settings import Settings, load_settings

MOST_CONNECTIONS: Final = 10_000
IN_CLEAR: Final = (
    "others on the network can reach this address, over plain HTTP: keys and films go in clear. Put a proxy with TLS "
    "in front, bind loopback again, and set PLAINFILM_SECURE_COOKIES."
)


def run(settings: Settings, listener: str | None = None) -> None:
    """Serve API and pages with gunicorn and gevent.

    Args:
        listener: an inherited socket that listens already, as gunicorn names it: 'fd://3'.
    """
    home.prepare(settings, partial(print, file=sys.stderr))
    if is_in_clear(settings):
        sys.stderr.write(f"plainfilm: {IN_CLEAR}\n")
    raise_descriptor_limit()
    options = [
        "--worker-class=web.gunicorn_worker.PlainWorker",
        f"--worker-connections={count_connections()}",
        f"--workers={settings.web_workers}",
        f"--bind={listener or settings.listens_at}",
        "--limit-request-fields=40",  # gunicorn parses incomplete headers again with each piece
        "--limit-request-field_size=8190",  # for the cookies of all services on one host
        "--forwarder-headers=",  # no header may set SCRIPT_NAME or PATH_INFO
        "--no-control-socket",
        "--worker-tmp-dir=/dev/shm" if os.path.isdir("/dev/shm") else "--worker-tmp-dir=/tmp",  # noqa: S108, PTH112
        "--graceful-timeout=20",
        "--timeout=60",
        "--keep-alive=15",
        "--log-level=warning",
    ]
    server = "web.serve" if settings.web_workers == 1 else "gunicorn"
    os.execv(sys.executable, [sys.executable, "-m", server, *options, "web.wsgi:app"])  # noqa: S606  our own command


def is_in_clear(settings: Settings) -> bool:
    """Whether the service listens on the network and no setting says that a proxy terminates TLS."""
    return settings.listens_openly and not settings.secure_cookies


def count_connections() -> int:
    """Return the most connections of a process: half of its file descriptors, so that the rest is left for its work.

    gunicorn's default of 1,000 can be exhausted by one client with a thousand incomplete requests; each times out after
    15 s. Clients that do not read their answers time out as well (`web/slow_readers.py`).
    """
    return max(100, min(MOST_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))


def raise_descriptor_limit() -> None:
    """Raise the soft limit of file descriptors to the hard limit: 1,000 connections do not fit the usual 1,024."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # macOS refuses "unlimited"
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    end_plainly(lambda: run(load_settings(), *sys.argv[1:2]), "web")
