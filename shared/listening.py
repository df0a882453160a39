"""Whether the web server may listen where the settings say; asked by `plainfilm up` and by `plainfilm doctor`."""

from __future__ import annotations

import errno
import socket

from shared.errors import InvalidRequest
from shared.settings import Settings


def check_port(settings: Settings) -> None:
    """Return where the web server may listen.

    Raises:
        InvalidRequest: the port is taken, or the host is not this machine's.
    """
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            told = f"Port {settings.port} is taken; choose another with PLAINFILM_PORT."
            if error.errno != errno.EADDRINUSE:
                told = f"PLAINFILM_HOST {settings.host} cannot be listened at: {error.strerror or error}."
            raise InvalidRequest(told) from error
