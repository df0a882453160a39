"""Changes of a film, worked out by hand on a few pixels."""

from __future__ import annotations

import numpy as np
import pytest

from training.augment import encode
from training.report.changes import CHANGES, bend, brighten, crop, invert, rotate, stretch
from training.synth import draw_film

ROW = np.array([[0, 100, 250]], np.uint8)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (brighten(ROW, 0.8), [0, 80, 200]),
        (brighten(ROW, 1.2), [0, 120, 255]),
        (stretch(np.array([[0, 100, 200]], np.uint8), 0.8), [20, 100, 180]),
        (stretch(np.array([[0, 100, 200]], np.uint8), 1.2), [0, 100, 220]),
        (bend(np.array([[0, 64, 255]], np.uint8), 0.8), [0, 84, 255]),
        (bend(np.array([[0, 64, 255]], np.uint8), 1.25), [0, 45, 255]),
        (invert(ROW), [255, 155, 5]),
    ],
)
def test_tones_are_rounded_and_clipped(changed: np.ndarray, expected: list[int]) -> None:
    """Grey values as a file can hold them: 250 times 1.2 is 255."""
    assert changed.dtype == np.uint8
    assert changed.tolist() == [expected]


def test_crop_keeps_the_middle() -> None:
    """Of 40 x 80 pixels, 95 % of each side: one pixel off above, two at the left."""
    pixels = np.arange(40 * 80, dtype=np.uint32).reshape(40, 80).astype(np.uint8)
    assert np.array_equal(crop(pixels, 0.95), pixels[1:39, 2:78])


def test_rotation_has_no_black_corners() -> None:
    """The edge goes on into the corners: a plain film stays plain."""
    plain = np.full((31, 50), 77, np.uint8)
    assert np.array_equal(rotate(plain, 5.0), plain)


def test_rotation_goes_either_way() -> None:
    """A dot at the right edge of the middle row goes up when turned left, and down when turned right."""
    film = np.zeros((41, 41), np.uint8)
    film[19:22, 36:39] = 255
    rows = np.arange(41)[:, np.newaxis]
    heights = [float((rows * turned).sum() / turned.sum()) for turned in (rotate(film, 5.0), rotate(film, -5.0))]
    assert heights == pytest.approx([20 - 17 * np.sin(np.deg2rad(5)), 20 + 17 * np.sin(np.deg2rad(5))], abs=0.3)


def test_jpeg_is_lossy_and_close() -> None:
    """Quality 40 changes pixels of a drawn film, by little."""
    film = draw_film("normal", np.random.default_rng(0))
    coded = encode(film, 40)
    difference = np.abs(coded.astype(int) - film)
    assert coded.shape == film.shape
    assert 0 < difference.mean() < 8


def test_every_change_is_a_film_again() -> None:
    """8-bit pixels whatever the film's shape; none mirrors it."""
    film = draw_film("covid19", np.random.default_rng(1))[:, :70]
    for name, change in CHANGES.items():
        changed = change(film)
        assert changed.dtype == np.uint8, name
        assert changed.ndim == 2
        assert not np.array_equal(changed, film), name
        assert not np.array_equal(changed, film[:, ::-1]), name
    assert len(CHANGES) == 13
