"""Covered films: what is covered cannot be told any more, what is left is as it was."""

from __future__ import annotations

import numpy as np
import pytest

from training.report.covers import border_mask, cover_lungs, keep_border, lungs_mask

RNG = np.random.default_rng(2)


def test_border_is_the_outer_tenth() -> None:
    """Of 10 x 20 pixels: rows 0 and 9, columns 0, 1, 18 and 19."""
    mask = border_mask(10, 20)
    assert mask.sum() == 10 * 20 - 8 * 16
    assert not mask[1:9, 2:18].any()


def test_border_film_worked_out() -> None:
    """The middle of 10 x 10 gets the border's mean: (18 x 10 + 18 x 20) / 36 = 15."""
    film = np.full((10, 10), 99, np.uint8)
    film[:, 0], film[:, 9], film[0, 1:9], film[9, 1:9] = 10, 20, 10, 20
    kept = keep_border(film)
    assert (kept[1:9, 1:9] == 15).all()
    assert np.array_equal(kept[border_mask(10, 10)], film[border_mask(10, 10)])


def test_lungs_are_two_ellipses_alike() -> None:
    """Mirror images of each other, about 2 x pi x 0.19 x 0.38 of the film; middle, top and bottom are left."""
    mask = lungs_mask(200, 100)
    assert np.array_equal(mask, mask[:, ::-1])
    assert mask.mean() == pytest.approx(2 * np.pi * 0.19 * 0.38, abs=0.01)
    assert mask[94, 28]
    assert not mask[:, 49:51].any()
    assert not mask[:18].any()
    assert not mask[171:].any()


@pytest.mark.parametrize(
    ("cover", "hidden"), [(cover_lungs, lungs_mask), (keep_border, lambda h, w: ~border_mask(h, w))]
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_nothing_of_the_covered_part_shows(cover: object, hidden: object, kind: type) -> None:
    """Two films that differ only there become one; the rest, and the input, stay."""
    film = RNG.integers(0, np.iinfo(kind).max, (60, 50)).astype(kind)
    other, mask = film.copy(), hidden(60, 50)
    other[mask] = 0
    assert np.array_equal(cover(film), cover(other))
    assert np.array_equal(cover(film)[~mask], film[~mask])
    assert cover(film).dtype == kind
    assert cover(film)[mask][0] == pytest.approx(film[~mask].mean(), abs=0.5)
    assert film[mask].std() > 0


def test_a_film_too_small_to_cover_stays() -> None:
    """One pixel has no border to keep and no lungs to cover."""
    film = np.array([[7]], np.uint8)
    assert np.array_equal(keep_border(film), film)
    assert np.array_equal(cover_lungs(film), film)
