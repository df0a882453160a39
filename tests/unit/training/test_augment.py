"""Changed copies are films still: repeatable, in range, and unchanged where every knob is off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.augment import augment, encode, to_uint8
from training.recipe import Augmentation
from training.synth import draw_film

OFF = Augmentation(
    flip_share=0,
    crop=0,
    rotate_degrees=0,
    resample_px=(0, 0),
    resample_share=0,
    blur_px=0,
    sharpen=0,
    gamma=1.0,
    contrast=0,
    noise=0,
    jpeg_quality=(0, 0),
)
FILM = draw_film("normal", np.random.default_rng(0))


def test_no_knobs_no_change() -> None:
    """With every knob off the copy is the film."""
    assert np.array_equal(augment(FILM, OFF, np.random.default_rng(1)), FILM)


def test_flip_mirrors_left_to_right() -> None:
    """With flip alone, always: the mirrored film."""
    knobs = replace(OFF, flip_share=1.0)
    assert np.array_equal(augment(FILM, knobs, np.random.default_rng(1)), FILM[:, ::-1])


def test_sharpening_adds_detail_to_about_half_of_the_copies() -> None:
    """A sharpened copy has larger steps between neighbours than the film; the others are the film."""
    knobs = replace(OFF, sharpen=2.0)
    copies = [augment(FILM, knobs, np.random.default_rng(seed)) for seed in range(40)]
    changed = [copy for copy in copies if not np.array_equal(copy, FILM)]
    assert 10 <= len(changed) <= 30
    steps = [np.abs(np.diff(copy.astype(int))).mean() for copy in changed]
    assert min(steps) > np.abs(np.diff(FILM.astype(int))).mean()


def test_a_framed_copy_is_the_film_through_a_jpeg() -> None:
    """Mirrored or not, and nothing else where blur and sharpening are off; that share of the copies, about."""
    knobs = replace(Augmentation(), crop=0.3, blur_px=0.0, framed_share=0.5, jpeg_quality=(60, 60))
    through = [encode(film, 60) for film in (FILM, np.ascontiguousarray(FILM[:, ::-1]))]
    copies = [augment(FILM, knobs, np.random.default_rng(seed)) for seed in range(40)]
    of_film = [sum(np.array_equal(copy, film) for copy in copies) for film in through]
    assert 10 <= sum(of_film) <= 30
    assert min(of_film) > 0


def test_a_framed_copy_is_as_sharp_or_blurred_as_any() -> None:
    """Its frame stays, its detail changes in most copies: how sharp a film is may tell its source too."""
    knobs = replace(OFF, crop=0.3, rotate_degrees=7.0, framed_share=1.0, blur_px=1.0, sharpen=1.0)
    copies = [augment(FILM, knobs, np.random.default_rng(seed)) for seed in range(40)]
    assert {copy.shape for copy in copies} == {FILM.shape}
    steps = [np.abs(np.diff(copy.astype(int))).mean() for copy in copies]
    as_it_is = np.abs(np.diff(FILM.astype(int))).mean()
    assert min(sum(step < as_it_is for step in steps), sum(step > as_it_is for step in steps)) >= 3


def test_same_draws_same_copy() -> None:
    """The copy follows from the generator alone."""
    first, second, other = (augment(FILM, Augmentation(), np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, second)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_twelve_bits_in_sixteen_keep_their_greys() -> None:
    """Training sees 16-bit films as 8 bits; of 12 bits the high byte alone would leave 16 greys."""
    ramp = np.tile(np.arange(4096, dtype=np.uint16), (4, 1))
    assert np.array_equal(to_uint8(ramp), ramp // 16)
    assert np.array_equal(to_uint8(FILM.astype(np.uint16) << 8), FILM)
    assert np.array_equal(to_uint8(FILM), FILM)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), side=st.integers(40, 200))
def test_copy_is_grey_and_not_much_smaller(seed: int, side: int) -> None:
    """Whatever is drawn: uint8, two dimensions, at least 70 % of each side or the resampled one."""
    film = np.random.default_rng(seed).integers(0, 256, (side, side + 7), np.uint8)
    copy = augment(film, Augmentation(resample_share=0.0), np.random.default_rng(seed))
    assert copy.dtype == np.uint8
    assert copy.ndim == 2
    assert copy.shape[0] >= 0.7 * side
    assert copy.shape[1] >= 0.7 * (side + 7)
