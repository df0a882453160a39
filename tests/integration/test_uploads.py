"""Uploads as gunicorn hands them over: clients that go silent, leave midway, or send what is no HTTP."""

from __future__ import annotations

import http.client
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import psutil
import pytest

from shared import wire
from tests.factories import make_png
from tests.waiting import wait_until
from tests.web_alone import CLIENT_WAIT_S, MOST, WebAlone
from web.intake import LONGEST_WAIT_S, count_seats

pytestmark = [pytest.mark.integration, pytest.mark.slow]

FILM = make_png()
BURST = 150


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebAlone]:
    """One for all of them, but those that are let go."""
    made = WebAlone(tmp_path_factory.mktemp("web"), "tests.patient")
    made.wait()
    yield made
    made.end(signal.SIGTERM)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebAlone]:
    """One that gives a body a second and what its length adds."""
    made = WebAlone(tmp_path_factory.mktemp("hasty"), "tests.hasty")
    made.wait()
    yield made
    made.end(signal.SIGTERM)


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
def test_a_client_that_goes_silent_is_let_go(hasty: WebAlone, kind: str) -> None:
    """408 once its time is over, and the connection is closed; the room that it held is free."""
    with hasty.begin(200_000, kind) as client:
        client.sendall(bytes(100_000))
        assert problem_of(client).code == "too_slow"
        assert client.recv(1) == b""
    assert not is_full(hasty)


@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize("sent", [b"ff\r\nabc", b"xyz\r\nabc", b"3\r\nabcdef", b""], ids=["cut", "size", "end", "none"])
def test_a_chunked_body_that_breaks_off_is_malformed(server: WebAlone, kind: str, sent: bytes) -> None:
    """Its client left, or sends what is no chunk: as a raw body that ends early."""
    with server.begin(None, kind) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        found = problem_of(client)
    assert (found.code, found.title) == ("malformed_request", "The request is malformed")
    assert "before all of its bytes arrived" in found.detail


@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=x"])
def test_a_body_that_breaks_off_is_malformed(server: WebAlone, kind: str) -> None:
    """Raw or a form: not for what its last part lacks."""
    with server.begin(200_000, kind) as client:
        client.sendall(b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc')
        client.shutdown(socket.SHUT_WR)
        assert "before all of its bytes arrived" in problem_of(client).detail


def test_what_comes_beside_a_full_budget_is_refused_at_once(server: WebAlone) -> None:
    """503; the one that holds the room is taken when it goes on."""
    padded = FILM + bytes(MOST - len(FILM))
    with server.begin(MOST) as first:
        first.sendall(padded[:-10])
        wait_until(lambda: is_full(server), "the budget to be full")
        first.sendall(padded[-10:])
        assert answer_of(first)[0] == 202
    assert not is_full(server)


def test_what_follows_a_body_is_the_next_request(server: WebAlone) -> None:
    """Both come with one segment: the body is cut where its length says."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=CLIENT_WAIT_S) as client:
        client.sendall(server.head(len(FILM)) + FILM + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while b"HTTP/1.1 200 OK" not in received:
            piece = client.recv(65536)
            assert piece, received
            received += piece
    assert received.startswith(b"HTTP/1.1 202 ")


def test_a_burst_of_films_is_taken_in(server: WebAlone) -> None:
    """More than may wait for the decoder: they wait before they are read, and none is refused."""
    with ExitStack() as stack, ThreadPoolExecutor(BURST) as pool:
        clients = [stack.enter_context(server.begin(len(FILM))) for _ in range(BURST)]
        answers = list(pool.map(partial(send_and_read, rest=FILM), clients))
    assert [status for status, _ in answers] == [202] * BURST


def test_films_without_a_length_are_taken_in_beside_each_other(server: WebAlone) -> None:
    """In chunks: each counts by what has come of it, not as the largest film."""
    chunk = b"%x\r\n%s\r\n" % (len(FILM), FILM)
    with ExitStack() as stack:
        clients = [stack.enter_context(server.begin(None)) for _ in range(5)]
        for client in clients:
            client.sendall(chunk)
        with server.begin(None) as last:
            assert send_and_read(last, chunk + b"0\r\n\r\n")[0] == 202
        answers = [send_and_read(client, b"0\r\n\r\n")[0] for client in clients]
    assert answers == [202] * 5


def test_what_its_headers_refuse_waits_for_no_turn(server: WebAlone) -> None:
    """While all seats are taken: the decoder was stopped."""
    with ExitStack() as stack:
        seated = [stack.enter_context(server.begin(len(FILM))) for _ in range(2 * count_seats(None))]
        for process in psutil.Process(server.process.pid).children(recursive=True):
            process.suspend()
            stack.callback(process.resume)
        for client in seated:
            client.sendall(FILM)
        for length, kind, status in (
            (9, "text/plain", 415),
            (9, "multipart/form-data", 400),
            (9 * MOST, "image/png", 413),
        ):
            with server.begin(length, kind) as refused:
                refused.settimeout(LONGEST_WAIT_S / 4)
                assert answer_of(refused)[0] == status


def test_clients_that_send_slowly_do_not_hold_up_others(server: WebAlone) -> None:
    """Twice as many as have a seat; the film of another is answered before theirs have arrived."""
    with ExitStack() as stack:
        slow = [stack.enter_context(server.begin(len(FILM))) for _ in range(2 * count_seats(None))]
        for client in slow:
            client.sendall(FILM[:-10])
        with server.begin(len(FILM)) as quick:
            assert send_and_read(quick, FILM)[0] == 202
        for client in slow:
            assert send_and_read(client, FILM[-10:])[0] == 202


def test_a_burst_of_films_that_come_slowly_is_taken_in(server: WebAlone) -> None:
    """Their bodies are complete at the same time, and the decoder has too few places for them."""
    with ExitStack() as stack, ThreadPoolExecutor(BURST) as pool:
        clients = [stack.enter_context(server.begin(len(FILM))) for _ in range(BURST)]
        for client in clients:
            client.sendall(FILM[:-10])
        with server.begin(len(FILM)) as last:  # once it is answered, all others have been begun
            assert send_and_read(last, FILM)[0] == 202
        answers = list(pool.map(partial(send_and_read, rest=FILM[-10:]), clients))
    assert [status for status, _ in answers] == [202] * BURST


def send_and_read(client: socket.socket, rest: bytes) -> tuple[int, bytes]:
    """Send the rest of an upload; status and body of its answer."""
    client.sendall(rest)
    return answer_of(client)


def is_full(server: WebAlone) -> bool:
    """Whether a film is refused for want of room."""
    with server.begin(len(FILM)) as client:
        client.sendall(FILM)
        status, body = answer_of(client)
    return status == 503 and wire.Problem.model_validate_json(body).code == "uploads_full"


def test_a_refused_body_costs_little_and_leaves_the_connection_usable(server: WebAlone) -> None:
    """What is left of it is read by large pieces: by the KiB it took seconds of CPU."""
    before, key, server.key = server.cpu_s(), server.key, "pf_none"
    with server.begin(4 * MOST) as client:
        server.key = key
        assert answer_of(client)[0] == 401
        client.sendall(bytes(4 * MOST))
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer_of(client)[0] == 200
    assert server.cpu_s() - before < 1


def test_more_connections_fit_than_the_shell_gave_descriptors(server: WebAlone) -> None:
    """300 idle ones under a soft limit of 256, and one more is answered."""
    with ExitStack() as idle:
        for _ in range(300):
            idle.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=CLIENT_WAIT_S))
        assert server.is_alive()
