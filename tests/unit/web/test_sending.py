"""Answers are taken in time, or end their connection."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator

import pytest

from web import sending
from web.sending import PIECE_BYTES, AnswersInTime

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
    answers = AnswersInTime(ours)
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
    monkeypatch.setattr(sending, "PIECE_S", 0.1)
    with pytest.raises(BrokenPipeError) as caught:
        AnswersInTime(ends[0]).sendall(ANSWER)
    assert caught.value.errno == errno.EPIPE
    assert isinstance(caught.value.__cause__, TimeoutError)


def test_a_slow_reader_has_its_time_with_each_piece(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer in all than a piece may take."""
    monkeypatch.setattr(sending, "PIECE_S", 1.0)
    ours, theirs = ends
    waits = threading.Event()

    def read_slowly() -> None:
        for _ in range(8):
            waits.wait(0.3)
            theirs.recv(2 * PIECE_BYTES, socket.MSG_WAITALL)
        read_all(theirs, bytearray())

    reader = threading.Thread(target=read_slowly)
    reader.start()
    AnswersInTime(ours).sendall(ANSWER)
    ours.shutdown(socket.SHUT_WR)
    reader.join()


def test_the_rest_is_the_sockets_own(ends: tuple[socket.socket, socket.socket]) -> None:
    """What gunicorn asks of it beside."""
    assert AnswersInTime(ends[0]).fileno() == ends[0].fileno()
