"""Stored forms: what goes in comes out, and nothing else is taken for it."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from shared.arrays import Pixels
from shared.errors import StorageDown
from shared.imaging import stored
from tests.factories import make_pixels


@pytest.mark.parametrize(
    "pixels",
    [
        make_pixels(),
        make_pixels(dtype=np.uint16),
        make_pixels().T,
        np.zeros((1, 3), np.uint8),
    ],
    ids=["8 bits", "16 bits", "by columns", "one row"],
)
def test_a_film_comes_back_as_it_was(pixels: Pixels) -> None:
    """Shape, depth and every value, in place of the bytes."""
    data = stored.to_bytes(pixels)
    back = stored.from_bytes(data)
    np.testing.assert_array_equal(back, pixels)
    assert back.dtype == pixels.dtype
    assert np.shares_memory(back, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize("pixels", [make_pixels(), make_pixels(dtype=np.uint16), make_pixels().T])
def test_one_pass_gives_both_digests(pixels: Pixels) -> None:
    """Of the pixels row by row, which the API tells, and of what is stored, which its reference names."""
    stored_form = stored.to_bytes(pixels)
    of_pixels = hashlib.sha256(stored_form[: pixels.nbytes]).hexdigest()
    assert stored_form[: pixels.nbytes] == pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    assert stored.digests(pixels) == (of_pixels, hashlib.sha256(stored_form).hexdigest())


FILM = stored.to_bytes(make_pixels())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        FILM[:-1],
        FILM + b"more",
        FILM[:40],
        FILM[1:],
        FILM[:-12] + bytes([9, 0, 0, 0]) + FILM[-8:],
        FILM[-20:],
        stored.saliency_to_bytes(np.zeros((4, 4), np.float32)),
    ],
    ids=[
        "nothing",
        "a PNG",
        "cut",
        "longer",
        "half a film",
        "a pixel short",
        "9 bits",
        "no pixels",
        "a saliency map",
    ],
)
def test_what_is_no_film_that_we_know_is_left_to_others(data: bytes) -> None:
    """Whatever lies there, one error says so; a newer build may read it."""
    with pytest.raises(StorageDown, match="form") as caught:
        stored.from_bytes(data)
    assert caught.value.retryable
