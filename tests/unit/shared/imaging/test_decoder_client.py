"""What the owner of a decoder believes: an answer is checked as if a film had written it."""

from __future__ import annotations

import json
import socket
import sys
import time

import pytest

from shared.errors import (
    TooManyPixels,
    UnreadableImage,
)
from shared.imaging.decoder_client import exchange
from shared.imaging.decoder_process import HEADER_SIZE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


GOOD = {"kind": "png", "mode": "L", "bit_depth": 8, "height_px": 40, "width_px": 40}


def answer_of(header: bytes, pixels: bytes = b"") -> socket.socket:
    """A film's socket on which the child has already said all it will say."""
    film, child = socket.socketpair()
    with child:
        child.sendall(HEADER_SIZE.pack(len(header)) + header + pixels)
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
def test_a_child_that_lies_is_not_believed(header: bytes) -> None:
    """An answer that makes no sense is an unreadable film, whatever it says."""
    with answer_of(header, bytes(1600)) as film, pytest.raises(UnreadableImage, match="could not be read"):
        exchange(film, b"film", time.monotonic() + 60)


def test_a_true_answer_is_believed() -> None:
    """The same exchange with a true answer gives the film; with a true refusal, the refusal."""
    with answer_of(json.dumps(GOOD).encode(), bytes(1600)) as film:
        assert exchange(film, b"film", time.monotonic() + 60).pixels.shape == (40, 40)
    refusal = {"code": "too_many_pixels", "detail": "Too large."}
    with answer_of(json.dumps(refusal).encode()) as film, pytest.raises(TooManyPixels, match="Too large"):
        exchange(film, b"film", time.monotonic() + 60)


def test_too_few_pixels_are_not_believed() -> None:
    """An answer that ends before its last pixel is no answer."""
    with answer_of(json.dumps(GOOD).encode(), bytes(1599)) as film, pytest.raises(EOFError):
        exchange(film, b"film", time.monotonic() + 60)
