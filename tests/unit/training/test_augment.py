"""Changed copies are films still: repeatable, in range, and unchanged where every knob is off."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.augment import augment, to_uint8
from training.recipe import Augmentation
from training.synth import draw_film

OFF = Augmentation(0, 0, 0, (0, 0), 0, 0, 1.0, 0, 0, (0, 0))
FILM = draw_film("normal", np.random.default_rng(0))


def test_no_knobs_no_change() -> None:
    """With every knob off the copy is the film."""
    assert np.array_equal(augment(FILM, OFF, np.random.default_rng(1)), FILM)


def test_flip_mirrors_left_to_right() -> None:
    """With flip alone, always: the mirrored film."""
    knobs = Augmentation(1.0, 0, 0, (0, 0), 0, 0, 1.0, 0, 0, (0, 0))
    assert np.array_equal(augment(FILM, knobs, np.random.default_rng(1)), FILM[:, ::-1])


def test_same_draws_same_copy() -> None:
    """The copy follows from the generator alone."""
    first, second, other = (augment(FILM, Augmentation(), np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, second)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_sixteen_bits_keep_their_high_byte() -> None:
    """Training sees 16-bit films as 8 bits."""
    assert np.array_equal(to_uint8(FILM.astype(np.uint16) << 8), FILM)
    assert np.array_equal(to_uint8(FILM), FILM)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), side=st.integers(40, 200))
def test_copy_is_grey_and_not_much_smaller(seed: int, side: int) -> None:
    """Whatever is drawn: uint8, two dimensions, at least 70 % of each side or the resampled one."""
    film = np.random.default_rng(seed).integers(0, 256, (side, side + 7), np.uint8)
    copy = augment(film, Augmentation(resample_share=0.0), np.random.default_rng(seed))
    assert copy.dtype == np.uint8
    assert copy.ndim == 2
    assert copy.shape[0] >= 0.7 * side
    assert copy.shape[1] >= 0.7 * (side + 7)
