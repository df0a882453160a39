"""The web server's process: replaces itself by the server, so that gevent patches one that has imported nothing yet.

`python -m web.run` is `plainfilm web run` less the command line's imports; `plainfilm up` hands it its socket.
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
        listener: a socket that we got and that listens already, as gunicorn names it: 'fd://3'.
    """
    home.prepare(settings, partial(print, file=sys.stderr))
    if is_in_clear(settings):
        sys.stderr.write(f"plainfilm: {IN_CLEAR}\n")
    open_as_many_as_allowed()
    options = [
        "--worker-class=web.gunicorn_worker.PlainWorker",
        f"--worker-connections={count_connections()}",
        f"--workers={settings.web_workers}",
        f"--bind={listener or settings.listens_at}",
        "--limit-request-fields=40",  # a head that is not whole is read again with each piece of it
        "--limit-request-field_size=8190",  # a browser sends the cookies of all that runs on its machine
        "--forwarder-headers=",  # no request names its own path by a header
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
    """Whether what goes over the network is readable on its way, as far as we can tell."""
    return settings.listens_openly and not settings.secure_cookies


def count_connections() -> int:
    """How many connections a process keeps: half of its descriptors, so that unfinished heads leave room for films.

    gunicorn's 1,000 are taken up by one client that sends a thousand beginnings of requests; each ends after 15 s. One
    whose answer is not read ends as well, see `web/slow_readers.py`.
    """
    return max(100, min(MOST_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))


def open_as_many_as_allowed() -> None:
    """Raise the soft limit on file descriptors to the hard one: 1,000 connections do not fit the usual 1,024."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # macOS takes no "unlimited"
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    end_plainly(lambda: run(load_settings(), *sys.argv[1:2]), "web")
