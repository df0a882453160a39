"""`plainfilm web run` by itself, over a real socket."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import psutil

from shared.broker import free_port
from shared.db import migrate
from shared.db.engine import Database, make_engine
from tests.api import make_key
from tests.waiting import LIMIT_S, wait_until

MOST = 8 * 2**20
CLIENT_WAIT_S = 120.0
FEW_FILES = ["sh", "-c", 'ulimit -Sn 256 && exec "$0" "$@"']
"""Starts a command with a soft limit of 256 descriptors."""


class WebAlone:
    """A web process with room for one upload of 8 MiB.

    Args:
        hooks: a module of tests that gunicorn takes hooks from.
        by: a command that starts it.
        environment: what is set, or not, beside the usual.
    """

    def __init__(self, home: Path, hooks: str, *by: str, **environment: str | None) -> None:
        url = f"sqlite:///{home / 'plainfilm.db'}"
        database = Database(make_engine(url))
        migrate.upgrade(database)
        self.key = make_key(database)
        database.close()
        self.port = free_port()
        own = {
            "PLAINFILM_HOME": str(home), "PLAINFILM_PORT": str(self.port), "PLAINFILM_REDIS_URL": "redis://127.0.0.1:1/0",
            "PLAINFILM_MAX_UPLOAD_BYTES": str(MOST), "PLAINFILM_UPLOAD_BUDGET_BYTES": str(MOST),
            "GUNICORN_CMD_ARGS": f"--config=python:{hooks}",
        }  # fmt: skip
        self.log = home / "said.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*by, *FEW_FILES, sys.executable, "-m", "shared.cli", "web", "run"],
                env={name: value for name, value in {**os.environ, **own, **environment}.items() if value is not None},
                stderr=log,
            )

    def wait(self) -> None:
        """Until it answers."""
        wait_until(self.is_alive, "the web server to answer")

    def is_alive(self) -> bool:
        """Whether it answers."""
        with (
            suppress(OSError),
            closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=CLIENT_WAIT_S)) as client,
        ):
            client.request("GET", "/livez")
            return client.getresponse().status == 200
        return False

    def begin(self, length: int | None, kind: str = "image/png") -> socket.socket:
        """A connection on which the head of an upload was sent."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=CLIENT_WAIT_S)
        client.sendall(self.head(length, kind))
        return client

    def head(self, length: int | None, kind: str = "image/png") -> bytes:
        """Of an upload; without a length it comes in chunks."""
        size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        head = f"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.key}\r\n{size}\r\n"
        return f"{head}Content-Type: {kind}\r\n\r\n".encode()

    def cpu_s(self) -> float:
        """What it has used."""
        return sum(psutil.Process(self.process.pid).cpu_times()[:2])

    def end(self, number: int) -> tuple[int, str]:
        """Send a signal; its exit status, and what it said."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """The same once it has ended by itself."""
        return self.process.wait(LIMIT_S), self.log.read_text()
