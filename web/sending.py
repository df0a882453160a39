"""An answer is taken in time, or its connection ends: who asks and reads nothing would keep one for good.

TCP does not end it, since a client whose window is shut acknowledges each probe of it. Used by `web/refusals.py`, which
is imported before gevent has patched this process.
"""

from __future__ import annotations

import errno
import socket
from struct import Struct
from typing import Any, Final

PIECE_BYTES: Final = 2**16
PIECE_S: Final = 30.0
"""Each piece of an answer waits so long for room in the connection: 2 kB/s at least, beside what the kernel holds."""

_AT_ONCE: Final = Struct("ii").pack(1, 0)
"""SO_LINGER: what was not read is thrown away with the connection."""


class AnswersInTime:
    """A client's socket for what gunicorn answers; the rest of it is the socket's own."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:  # Any: whatever a socket has
        return getattr(self._client, name)

    def send(self, data: bytes) -> int:
        """All of it, as `sendall`: gunicorn's "100 Continue" waits for room as well."""
        self.sendall(data)
        return len(data)

    def sendall(self, data: bytes) -> None:
        """Send by pieces.

        Raises:
            BrokenPipeError: one was not taken in time; the connection is of no more use.
        """
        whole = memoryview(data)
        self._client.settimeout(PIECE_S)
        try:
            for start in range(0, len(whole), PIECE_BYTES):
                self._client.sendall(whole[start : start + PIECE_BYTES])
        except TimeoutError as error:
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            raise BrokenPipeError(errno.EPIPE, "the answer was not taken in time") from error
        finally:
            self._client.settimeout(None)
