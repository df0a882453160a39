"""Answers are taken in time, or end their connection."""

from __future__ import annotations

import errno
import io
import socket
import threading
from collections.abc import Iterator

import pytest

from web import slow_readers
from web.slow_readers import PIECE_BYTES, TimedSocket

ANSWER = bytes(range(256)) * 4096 * 4
"""4 MiB: more than a connection holds."""


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection: the service's end, and the client's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def read_all(client: socket.socket, taken: bytearray) -> None:
    """As long as something comes."""
    while data := client.recv(PIECE_BYTES):
        taken += data


def test_what_is_read_arrives_whole(ends: tuple[socket.socket, socket.socket]) -> None:
    """In as many pieces as it takes; the socket then waits for as long as before."""
    ours, theirs = ends
    taken = bytearray()
    reader = threading.Thread(target=read_all, args=(theirs, taken))
    reader.start()
    answers = TimedSocket(ours)
    answers.sendall(b"")
    assert answers.send(ANSWER[:300]) == 300
    answers.sendall(ANSWER)
    assert ours.gettimeout() is None
    ours.shutdown(socket.SHUT_WR)
    reader.join()
    assert bytes(taken) == ANSWER[:300] + ANSWER


def test_what_nobody_reads_ends_as_a_connection_that_broke(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gunicorn passes over that error, and closes."""
    monkeypatch.setattr(slow_readers, "PIECE_S", 0.1)
    with pytest.raises(BrokenPipeError) as caught:
        TimedSocket(ends[0]).sendall(ANSWER)
    assert caught.value.errno == errno.EPIPE
    assert isinstance(caught.value.__cause__, TimeoutError)


def test_a_file_is_sent_by_the_same_pieces(ends: tuple[socket.socket, socket.socket]) -> None:
    """As gunicorn asks for a static one: from there on, so much of it."""
    ours, theirs = ends
    answers, file, taken = TimedSocket(ours), io.BytesIO(ANSWER), bytearray()
    reader = threading.Thread(target=read_all, args=(theirs, taken))
    reader.start()
    answers.sendfile(file, offset=5, count=PIECE_BYTES + 1)
    answers.sendfile(file, offset=len(ANSWER) - 7)
    ours.shutdown(socket.SHUT_WR)
    reader.join()
    assert bytes(taken) == ANSWER[5 : PIECE_BYTES + 6] + ANSWER[-7:]


def test_a_file_that_nobody_reads_ends_the_connection(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Static files need no key."""
    monkeypatch.setattr(slow_readers, "PIECE_S", 0.1)
    with pytest.raises(BrokenPipeError):
        TimedSocket(ends[0]).sendfile(io.BytesIO(ANSWER))


def test_the_rest_is_the_sockets_own(ends: tuple[socket.socket, socket.socket]) -> None:
    """What gunicorn asks of it beside."""
    assert TimedSocket(ends[0]).fileno() == ends[0].fileno()
