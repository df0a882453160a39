"""Where the web server listens: `plainfilm up` holds that socket for it, `plainfilm doctor` asks whether it may."""

from __future__ import annotations

import errno
import socket
from typing import Final

from shared.errors import InvalidRequest
from shared.settings import Settings

BACKLOG: Final = 2048
"""Connections that may wait until the web server takes them; gunicorn's own number."""


def listen(settings: Settings) -> socket.socket:
    """A socket that listens where the settings say; who connects waits until somebody serves it.

    Raises:
        InvalidRequest: the port is taken, or the host is not this machine's.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        told = f"Port {settings.port} is taken; choose another with PLAINFILM_PORT."
        if error.errno != errno.EADDRINUSE:
            told = f"PLAINFILM_HOST {settings.host} cannot be listened at: {error.strerror or error}."
        raise InvalidRequest(told) from error
    return listener


def check_port(settings: Settings) -> None:
    """Return where the web server may listen; raises as `listen` does."""
    listen(settings).close()
