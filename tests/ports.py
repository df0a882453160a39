"""Ports of this machine that are kept for a test, however late what it starts comes to listen there."""

from __future__ import annotations

import socket


def hold_port() -> socket.socket:
    """A socket that keeps a free port until it is closed, and does not listen.

    Who sets SO_REUSEADDR, as servers do, may listen there; nobody is given the port by chance.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def port_of(held: socket.socket) -> int:
    """Its port."""
    return int(held.getsockname()[1])
