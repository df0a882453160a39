"""A timeout for sending: a client that requests answers and does not read them would keep its connection for good.

TCP does not end such a connection, since a client with a closed window acknowledges each probe. Used by
`web/gunicorn_worker.py` alone.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from struct import Struct
from typing import Any, BinaryIO, Final

PIECE_BYTES: Final = 2**16
PIECE_S: Final = 60.0
"""Each 64 KiB piece must fit the send buffer within 60 s. A client with a megabyte receive buffer reopens its window
only after reading 1/16 of it, so about 10 kB/s is needed for a 9 MB buffer."""

RESET_ON_CLOSE: Final = Struct("ii").pack(1, 0)
"""SO_LINGER on, with 0 s: closing discards unsent data and resets the connection."""


def limit_unsent_bytes(client: socket.socket) -> None:
    """Limit the unsent bytes in the kernel's send buffer to one piece, where the system can (TCP_NOTSENT_LOWAT).

    Without the limit the buffer holds megabytes and reports room only once about a third of them is gone: a slow but
    honest client would need longer for that than the timeout of a piece.
    """
    with suppress(AttributeError, OSError):  # not every system has it
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, PIECE_BYTES)


class TimedSocket:
    """A client's socket whose sending methods have a timeout for each piece; all else is the socket's own."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:  # Any: whatever a socket has
        return getattr(self._client, name)

    def sendfile(self, file: BinaryIO, offset: int = 0, count: int | None = None) -> None:
        """Send `count` bytes of a file from `offset`, or all up to its end; gunicorn sends static files this way."""
        file.seek(offset)
        left = count
        while data := file.read(PIECE_BYTES if left is None else min(PIECE_BYTES, left)):
            self.sendall(data)
            left = None if left is None else left - len(data)

    def send(self, data: bytes) -> int:
        """Send all of `data`, as `sendall` does: gunicorn sends "100 Continue" this way."""
        self.sendall(data)
        return len(data)

    def sendall(self, data: bytes) -> None:
        """Send `data` piece by piece.

        Raises:
            BrokenPipeError: a piece timed out; the connection is unusable and is reset when it is closed.
        """
        whole = memoryview(data)
        self._client.settimeout(PIECE_S)
        try:
            for start in range(0, len(whole), PIECE_BYTES):
                self._client.sendall(whole[start : start + PIECE_BYTES])
        except TimeoutError as error:
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            raise BrokenPipeError(errno.EPIPE, "the answer was not taken in time") from error
        finally:
            self._client.settimeout(None)
