"""Uploads as gunicorn hands them over: clients that go silent, leave midway, or send what is no HTTP."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import psutil
import pytest

from shared import wire
from shared.broker import free_port
from shared.db import migrate
from shared.db.engine import Database, make_engine
from tests.api import make_key
from tests.factories import make_png
from tests.service import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MOST = 8 * 2**20
FILM = make_png()
CLIENT_WAIT_S = 20.0
FEW_FILES = ["sh", "-c", 'ulimit -Sn 256 && exec "$0" "$@"']
"""Starts a command with a soft limit of 256 descriptors."""


class Server:
    """`plainfilm web run` alone, with room for one upload of 8 MiB; a body has a second and what its length adds."""

    def __init__(self, home: Path, **environment: str) -> None:
        url = f"sqlite:///{home / 'plainfilm.db'}"
        database = Database(make_engine(url))
        migrate.upgrade(database)
        self.key = make_key(database)
        database.close()
        self.port = free_port()
        own = {
            "PLAINFILM_HOME": str(home), "PLAINFILM_PORT": str(self.port), "PLAINFILM_REDIS_URL": "redis://127.0.0.1:1/0",
            "PLAINFILM_MAX_UPLOAD_BYTES": str(MOST), "PLAINFILM_UPLOAD_BUDGET_BYTES": str(MOST),
            "GUNICORN_CMD_ARGS": "--config=python:tests.hasty",
        }  # fmt: skip
        command = [*FEW_FILES, sys.executable, "-m", "shared.cli", "web", "run"]
        self.process = subprocess.Popen(command, env={**os.environ, **own, **environment})
        wait_until(self.is_alive, "the web server to answer")

    def is_alive(self) -> bool:
        """Whether it answers."""
        with suppress(OSError), closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)) as client:
            client.request("GET", "/livez")
            return client.getresponse().status == 200
        return False

    def begin(self, length: int | None, kind: str = "image/png") -> socket.socket:
        """A connection on which the head of an upload was sent."""
        size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        head = f"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.key}\r\n{size}\r\n"
        client = socket.create_connection(("127.0.0.1", self.port), timeout=CLIENT_WAIT_S)
        client.sendall(f"{head}Content-Type: {kind}\r\n\r\n".encode())
        return client

    def cpu_s(self) -> float:
        """What its worker has used."""
        (worker,) = psutil.Process(self.process.pid).children()
        return sum(worker.cpu_times()[:2])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all of them."""
    made = Server(tmp_path_factory.mktemp("web"))
    yield made
    made.process.terminate()
    made.process.wait(30)


def answer_of(client: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.status, response.read()


def problem_of(client: socket.socket) -> wire.Problem:
    """The next answer is a problem."""
    status, body = answer_of(client)
    found = wire.Problem.model_validate_json(body)
    assert found.status == status
    return found


@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=x"])
def test_a_client_that_goes_silent_is_let_go(server: Server, kind: str) -> None:
    """408 once its time is over, and the connection is closed; the room that it held is free."""
    with server.begin(200_000, kind) as client:
        client.sendall(bytes(100_000))
        assert problem_of(client).code == "too_slow"
        assert client.recv(1) == b""
    assert not is_full(server)


@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize("sent", [b"ff\r\nabc", b"xyz\r\nabc", b"3\r\nabcdef", b""], ids=["cut", "size", "end", "none"])
def test_a_chunked_body_that_breaks_off_is_malformed(server: Server, kind: str, sent: bytes) -> None:
    """Its client left, or sends what is no chunk: as a raw body that ends early."""
    with server.begin(None, kind) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        found = problem_of(client)
    assert (found.code, found.title) == ("malformed_request", "The request is malformed")
    assert "before all of its bytes came" in found.detail


@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=x"])
def test_a_body_that_breaks_off_is_malformed(server: Server, kind: str) -> None:
    """Raw or a form: not for what its last part lacks."""
    with server.begin(200_000, kind) as client:
        client.sendall(b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc')
        client.shutdown(socket.SHUT_WR)
        assert "before all of its bytes came" in problem_of(client).detail


def test_what_comes_beside_a_full_budget_is_refused_at_once(server: Server) -> None:
    """503; the one that holds the room is taken when it goes on."""
    padded = FILM + bytes(MOST - len(FILM))
    with server.begin(MOST) as first:
        first.sendall(padded[:-10])
        wait_until(lambda: is_full(server), "the budget to be full", wait_s=10)
        first.sendall(padded[-10:])
        assert answer_of(first)[0] == 202
    assert not is_full(server)


def is_full(server: Server) -> bool:
    """Whether a film is refused for want of room."""
    with server.begin(len(FILM)) as client:
        client.sendall(FILM)
        status, body = answer_of(client)
    return status == 503 and wire.Problem.model_validate_json(body).code == "uploads_full"


def test_a_refused_body_costs_little_and_leaves_the_connection_usable(server: Server) -> None:
    """What is left of it is read by large pieces: by the KiB it took seconds of CPU."""
    before, key, server.key = server.cpu_s(), server.key, "pf_none"
    with server.begin(4 * MOST) as client:
        server.key = key
        assert answer_of(client)[0] == 401
        client.sendall(bytes(4 * MOST))
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer_of(client)[0] == 200
    assert server.cpu_s() - before < 0.5


def test_more_connections_fit_than_the_shell_gave_descriptors(server: Server) -> None:
    """300 idle ones under a soft limit of 256, and one more is answered."""
    with ExitStack() as idle:
        for _ in range(300):
            idle.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=CLIENT_WAIT_S))
        assert server.is_alive()
