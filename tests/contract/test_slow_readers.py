"""What a connection holds of an answer that nobody reads yet, over a real one."""

from __future__ import annotations

import socket

from web.slow_readers import PIECE_BYTES, limit_unsent_bytes


def test_the_kernel_holds_little_that_is_not_sent() -> None:
    """Else megabytes, and it says that there is room once a third of them is: too late for a slow reader."""
    assert fill(is_held=True) < 16 * PIECE_BYTES < fill(is_held=False)


def fill(*, is_held: bool) -> int:
    """Bytes that a connection takes at once."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        ours, _ = server.accept()
        with ours:
            if is_held:
                limit_unsent_bytes(ours)
            ours.settimeout(0.5)
            taken = 0
            try:
                while True:
                    taken += ours.send(bytes(PIECE_BYTES))
            except TimeoutError:
                return taken
