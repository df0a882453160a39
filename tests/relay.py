"""A way to PostgreSQL that can be frozen: bytes are taken and not passed on, as by a server that hangs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy import URL, make_url

PIECE_BYTES = 1 << 16


@dataclass
class Relay:
    """Listens at a port of this machine and passes on what comes to the server of `target`, and back."""

    target: URL
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _passes: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """The same database by this way."""
        way = self.target.set(host="127.0.0.1", port=self.listener.getsockname()[1]).difference_update_query(["host"])
        return way.render_as_string(hide_password=False)

    def freeze(self) -> None:
        """From now on nothing passes; connections are still taken."""
        self._passes.clear()

    def thaw(self) -> None:
        """What was kept back passes, and what comes."""
        self._passes.set()

    def serve(self) -> None:
        """Until the listener is closed."""
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = self._connect()
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _connect(self) -> socket.socket:
        folder = self.target.query.get("host")
        if folder is None:
            return socket.create_connection((self.target.host or "127.0.0.1", self.target.port or 5432))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{folder}/.s.PGSQL.{self.target.port or 5432}")
        return server

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError), source, sink:
            while piece := source.recv(PIECE_BYTES):
                self._passes.wait()
                sink.sendall(piece)


@contextmanager
def relaying(url: str) -> Iterator[Relay]:
    """One that passes everything on, until it is told to freeze."""
    relay = Relay(make_url(url))
    relay.thaw()
    threading.Thread(target=relay.serve, daemon=True).start()
    try:
        yield relay
    finally:
        relay.thaw()
        relay.listener.close()
