"""What the owner of a decoder believes: an answer is checked as if a film had written it."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from io import FileIO

import pytest

from shared.errors import (
    TooManyPixels,
    UnreadableImage,
)
from shared.imaging.decoder_client import exchange, make_shared_file
from shared.imaging.decoder_process import HEADER_SIZE, PIXELS_AT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


GOOD = {"kind": "png", "mode": "L", "bit_depth": 8, "height_px": 40, "width_px": 40, "is_confined": True}


@pytest.fixture
def memory() -> Iterator[FileIO]:
    """A file shared with a child, which has put 1600 pixels into it."""
    with make_shared_file() as made:
        os.pwrite(made.fileno(), bytes(range(160)) * 10, PIXELS_AT)
        yield made


def answer_of(header: bytes) -> socket.socket:
    """A film's socket on which the child has already said all it will say."""
    film, child = socket.socketpair()
    with child:
        child.sendall(HEADER_SIZE.pack(len(header)) + header)
    return film


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"not json",
        b"[1, 2]",
        b"7",
        b"{}",
        b"[" * 4000,
        b"{" + b" " * 5000 + b"}",
        *(
            json.dumps(GOOD | lie).encode()
            for lie in (
                {"kind": "exe"},
                {"kind": []},
                {"mode": "<script>"},
                {"bit_depth": 32},
                {"bit_depth": 8.0},
                {"height_px": 0},
                {"height_px": 10**9},
                {"height_px": -40},
                {"height_px": 40.5},
                {"height_px": "40"},
                {"width_px": None},
                {"width_px": True},
                {"is_confined": 1},
                {"surprise": 1},
            )
        ),
        *(
            json.dumps(refusal).encode()
            for refusal in (
                {"code": "internal", "detail": "x"},
                {"code": "too_many_pixels", "detail": "two\nlines"},
                {"code": "too_many_pixels", "detail": "x" * 401},
                {"code": "too_many_pixels", "detail": 7},
                {"code": "too_many_pixels"},
                {"code": [], "detail": "x"},
            )
        ),
    ],
)
def test_a_child_that_lies_is_not_believed(header: bytes, memory: FileIO) -> None:
    """An answer that makes no sense is an unreadable film, whatever it says."""
    with answer_of(header) as film, pytest.raises(UnreadableImage, match="could not be read"):
        exchange(film, memory, b"film", time.monotonic() + 60)


def test_a_true_answer_is_believed(memory: FileIO) -> None:
    """The same exchange with a true answer gives the film; with a true refusal, the refusal."""
    with answer_of(json.dumps(GOOD).encode()) as film:
        pixels = exchange(film, memory, b"film", time.monotonic() + 60).pixels
    assert pixels.shape == (40, 40)
    assert pixels.tobytes() == bytes(range(160)) * 10
    refusal = {"code": "too_many_pixels", "detail": "Too large."}
    with answer_of(json.dumps(refusal).encode()) as film, pytest.raises(TooManyPixels, match="Too large"):
        exchange(film, memory, b"film", time.monotonic() + 60)


def test_what_a_child_does_to_the_shared_file_later_changes_no_film(memory: FileIO) -> None:
    """Pixels are taken out of it before they are looked at."""
    with answer_of(json.dumps(GOOD).encode()) as film:
        pixels = exchange(film, memory, b"film", time.monotonic() + 60).pixels
    os.pwrite(memory.fileno(), bytes(1600), PIXELS_AT)
    assert pixels.tobytes() == bytes(range(160)) * 10


def test_a_shared_file_that_was_cut_short_is_not_believed(memory: FileIO) -> None:
    """An answer without its last pixel is no answer, and ends nobody."""
    os.ftruncate(memory.fileno(), PIXELS_AT + 1599)
    with answer_of(json.dumps(GOOD).encode()) as film, pytest.raises(EOFError):
        exchange(film, memory, b"film", time.monotonic() + 60)
