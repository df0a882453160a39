"""An answer is taken in time, or its connection ends: who asks and reads nothing would keep one for good.

TCP does not end it, since a client whose window is shut acknowledges each probe of it. Used by `web/refusals.py`, which
is imported before gevent has patched this process.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from struct import Struct
from typing import Any, BinaryIO, Final

PIECE_BYTES: Final = 2**16
PIECE_S: Final = 60.0
"""Each piece of an answer waits so long for room in the connection. A client whose own buffer has grown to
megabytes says that it has room once a sixteenth of it is read, so that 64 KiB a minute is no promise to all: 10 kB/s
is enough for a buffer of 9 MB."""

_AT_ONCE: Final = Struct("ii").pack(1, 0)
"""SO_LINGER: what was not read is thrown away with the connection."""


def hold_little(client: socket.socket) -> None:
    """Have the kernel hold no more than a piece that is not sent: else it says that there is room once a megabyte is.

    A client that is slow and honest would take longer for that than a piece may take.
    """
    with suppress(AttributeError, OSError):  # not every system has it
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, PIECE_BYTES)


class AnswersInTime:
    """A client's socket for what gunicorn answers; the rest of it is the socket's own."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:  # Any: whatever a socket has
        return getattr(self._client, name)

    def sendfile(self, file: BinaryIO, offset: int = 0, count: int | None = None) -> None:
        """`count` bytes of a file, or all that follow: gunicorn's way to send static ones."""
        file.seek(offset)
        left = count
        while data := file.read(PIECE_BYTES if left is None else min(PIECE_BYTES, left)):
            self.sendall(data)
            left = None if left is None else left - len(data)

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
