"""What gunicorn refuses by itself, and beginnings of requests that never go on: over real sockets."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from gunicorn.http import errors

from shared import wire
from tests.waiting import wait_until
from tests.web_alone import CLIENT_WAIT_S, WebAlone
from web import refusals
from web.security import HEADERS

pytestmark = [pytest.mark.integration, pytest.mark.slow]

NAME = "DOE-JANE"
"""What no log may hold."""

BROKEN = {
    f"GET /jobs/{NAME} 1950 HTTP/1.1\r\n\r\n": 400,
    f"GET /enter/{NAME} HTTX/1.1\r\n\r\n": 400,
    f"GET /livez HTTP/1.1\r\nX Patient {NAME}: 1\r\n\r\n": 400,
    f"GET /livez HTTP/1.1\r\nContent-Length: {NAME}\r\n\r\n": 400,
    f"GET /{NAME * 1200} HTTP/1.1\r\n\r\n": 414,
    f"GET /livez HTTP/1.1\r\nX-Name: {NAME * 1200}\r\n\r\n": 431,
    f"POST /livez HTTP/1.1\r\nTransfer-Encoding: {NAME}\r\n\r\n": 501,
}
SCRIPT = "/static/vendor/openseadragon-6.1.1/openseadragon.min.js"
HALF = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: "


@pytest.fixture(params=[1, 2])
def web(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WebAlone]:
    """As the only process, and under gunicorn's own."""
    served = WebAlone(tmp_path, "tests.patient", PLAINFILM_WEB_WORKERS=str(request.param))
    served.wait()
    yield served
    served.end(signal.SIGTERM)


def ask(web: WebAlone, sent: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in small letters, and body; the connection ends with it."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=CLIENT_WAIT_S) as client:
        client.sendall(sent.encode())
        received = b"".join(iter(lambda: client.recv(65_536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}, body


def read_all(client: socket.socket) -> None:
    """As long as something comes."""
    while client.recv(65_536):
        pass


def refused(web: WebAlone) -> list[dict[str, Any]]:
    """What the log says of requests that could not be read; a line still being written is left out."""
    whole = web.log.read_text().rpartition("\n")[0].splitlines()
    return [said for said in map(json.loads, whole) if said["event"] == "request.unreadable"]


def test_what_is_no_request_is_refused_as_any_other_and_leaves_no_name_in_the_log(web: WebAlone) -> None:
    """Problem details with the headers of every answer; of what came the log has its kind alone."""
    for sent, expected in BROKEN.items():
        status, headers, body = ask(web, sent)
        problem = wire.Problem.model_validate_json(body)
        assert (status, problem.status) == (expected, expected), sent[:80]
        assert headers["content-type"] == "application/problem+json"
        assert headers["x-request-id"] == problem.request_id
        assert {name.lower() for name in HEADERS} <= headers.keys()
        assert NAME not in body.decode()
    assert web.is_alive()
    wait_until(lambda: len(refused(web)) >= len(BROKEN), "all of them to be logged")
    assert [line["status"] for line in refused(web)] == list(BROKEN.values())
    assert NAME not in web.log.read_text()


def test_a_header_names_no_path(web: WebAlone) -> None:
    """Nor leaves what it says in the log."""
    status, _, _ = ask(web, f"GET /livez HTTP/1.1\r\nHost: x\r\nScript-Name: /{NAME}\r\nConnection: close\r\n\r\n")
    assert status == 200
    ask(web, f"GET /livez HTTP/1.1\r\nHost: x\r\nScript_Name: /{NAME}\r\nConnection: close\r\n\r\n")
    assert NAME not in web.log.read_text()


def test_a_refusal_is_found_in_the_log_by_its_id(web: WebAlone) -> None:
    """Also on a connection that had another request before."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=CLIENT_WAIT_S) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in client.recv(65_536)
        client.sendall(b"GET /livez HTTX/1.1\r\n\r\n")
        received = b"".join(iter(lambda: client.recv(65_536), b""))
    problem = wire.Problem.model_validate_json(received.partition(b"\r\n\r\n")[2])
    wait_until(lambda: refused(web), "it to be logged")
    assert [line["request_id"] for line in refused(web)] == [problem.request_id]


def test_large_beginnings_keep_nobody_out(web: WebAlone) -> None:
    """A head that grows too large is refused before it costs much."""
    large = b"GET /livez HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 2000) for n in range(200))
    with ExitStack() as all_open:
        for _ in range(100):
            client = all_open.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=CLIENT_WAIT_S))
            with suppress(OSError):  # it is refused while it is sent
                client.sendall(large)
        assert web.is_alive()
        wait_until(lambda: len(refused(web)) == 100, "all of them to be refused")
    assert {line["status"] for line in refused(web)} == {431}


def test_a_thousand_beginnings_of_requests_keep_nobody_out(web: WebAlone) -> None:
    """While all of them are still open, another is answered."""
    with ExitStack() as all_open:
        halves = [
            all_open.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=CLIENT_WAIT_S))
            for _ in range(1100)
        ]
        for half in halves:
            half.sendall(HALF)
        assert web.is_alive()
        for half in halves:
            half.setblocking(False)
            with pytest.raises(BlockingIOError):
                half.recv(1)


def test_a_fault_of_the_service_is_no_fault_of_the_client() -> None:
    """Also where gunicorn's class for it is one of a client's."""
    assert refusals.find_refusal(errors.InvalidHeader("x"))[0] == 400
    for error in (errors.InvalidResponseHeader("x"), errors.ConfigurationProblem("x"), RuntimeError("x")):
        status, detail = refusals.find_refusal(error)
        assert status == 0
        assert refusals.answer(500, detail, "r").startswith(b"HTTP/1.1 500 Something went wrong on our side\r\n")


@pytest.mark.parametrize(
    ("processes", "path"), [("1", "/api/v1/openapi.json"), ("2", "/api/v1/openapi.json"), ("1", SCRIPT)]
)
def test_who_asks_and_reads_nothing_loses_the_connection(tmp_path: Path, processes: str, path: str) -> None:
    """Sixty answers of a hundred kilobytes are more than a connection holds; nobody needs a key for them."""
    web = WebAlone(tmp_path, "tests.hurried", PLAINFILM_WEB_WORKERS=processes)
    web.wait()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", web.port))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 60)
        wait_until(lambda: "answer.not_taken" in web.log.read_text(), "the connection to end")
        client.settimeout(CLIENT_WAIT_S)
        with pytest.raises(ConnectionResetError):
            read_all(client)
    assert web.is_alive()
    status, said = web.end(signal.SIGTERM)
    assert status == 0
    assert "Traceback" not in said
