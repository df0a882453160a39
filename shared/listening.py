"""The web server's listening socket: `plainfilm up` opens it, `plainfilm doctor` checks that it can be opened."""

from __future__ import annotations

import errno
import socket
from typing import Final

from shared.errors import InvalidRequest
from shared.settings import Settings

BACKLOG: Final = 2048
"""Connections that may wait until the web server accepts them; gunicorn's default."""


def listen(settings: Settings) -> socket.socket:
    """Return a socket that listens at the settings' address; connections wait until a web server accepts them.

    Raises:
        InvalidRequest: the port is taken, or the host is not an address of this machine.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        detail = f"Port {settings.port} is taken; choose another with PLAINFILM_PORT."
        if error.errno != errno.EADDRINUSE:
            detail = f"Cannot listen on PLAINFILM_HOST {settings.host}: {error.strerror or error}."
        raise InvalidRequest(detail) from error
    return listener


def check_port(settings: Settings) -> None:
    """Return if the web server can listen at its address; else raise as `listen` does."""
    listen(settings).close()
