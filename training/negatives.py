"""Negatives for the input gate: pictures that are no frontal chest films, made from films or drawn from noise.

Rotated, upside-down, half and zoomed films, films cut into shuffled, tiled or swapped parts, noise of every grain, and
pages of text. The classifying outputs are not trained on them. Called by `training/gate.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from shared.arrays import FloatArray
from shared.imaging.preprocess import window

PAGE_PX: Final = 224
GRAINS_PX: Final = (4, 6, 8, 12, 16, 24, 32, 64, 112, 224)
"""Sides of the noise before it is enlarged, from coarse to fine."""

Spoil = Callable[[FloatArray, np.random.Generator], FloatArray]


def turn(film: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the film rotated by 90, 180 or 270 degrees, or flipped top to bottom."""
    turns = int(rng.integers(0, 4))
    return np.ascontiguousarray(film[::-1] if turns == 0 else np.rot90(film, turns))


def keep_half(film: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the left or right part, 42 to 60 % of the width, stretched to the full width."""
    cut = int(len(film) * rng.uniform(0.42, 0.6))
    half = film[:, :cut] if rng.random() < 0.5 else film[:, -cut:]  # noqa: PLR2004 - either side
    return resize(half, len(film))


def zoom(film: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return a square crop of 18 to 46 % of the side, enlarged."""
    side = int(len(film) * rng.uniform(0.18, 0.46))
    top, left = rng.integers(0, len(film) - side, 2)
    return resize(film[top : top + side, left : left + side], len(film))


def shuffle(film: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the film with its 4 x 4 blocks in a random order."""
    side = len(film) // 4
    parts = film.reshape(4, side, 4, side).transpose(0, 2, 1, 3).reshape(16, side, side)
    return parts[rng.permutation(16)].reshape(4, 4, side, side).transpose(0, 2, 1, 3).reshape(film.shape)


def tile(film: FloatArray, _rng: np.random.Generator) -> FloatArray:
    """Return four small copies of the film."""
    return np.tile(resize(film, len(film) // 2), (2, 2))


def swap(film: FloatArray, _rng: np.random.Generator) -> FloatArray:
    """Return the film with its left and right half exchanged."""
    return np.roll(film, len(film) // 2, axis=1)


SPOILS: Final[Mapping[Spoil, float]] = MappingProxyType(
    {turn: 0.3, keep_half: 0.2, zoom: 0.2, shuffle: 0.1, tile: 0.1, swap: 0.1}
)
"""Ways to spoil a film, with the share of the spoiled films that each gets."""


def spoil_films(films: Sequence[FloatArray], rng: np.random.Generator) -> Iterator[FloatArray]:
    """Yield one spoiled copy of each film (side, side) float32 in [0, 1], side a multiple of 4."""
    ways, shares = list(SPOILS), list(SPOILS.values())
    for film in films:
        yield window(ways[rng.choice(len(ways), p=shares)](film, rng))


def draw_nothing(count: int, side_px: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """Yield `count` pictures (side_px, side_px) made without films: noise of each grain, every sixth a page of text."""
    for number in range(count):
        if number % 6 == 0:
            yield window(resize(draw_text(rng), side_px))
        else:
            grain = GRAINS_PX[number % len(GRAINS_PX)]
            yield window(resize(rng.random((grain, grain), dtype=np.float32), side_px))


def draw_text(rng: np.random.Generator) -> FloatArray:
    """Return a page (224, 224) of random letters, black on white."""
    page = Image.new("L", (PAGE_PX, PAGE_PX), 255)
    pen = ImageDraw.Draw(page)
    for top in range(8, PAGE_PX - 8, 12):
        letters = rng.integers(ord("a"), ord("z") + 1, int(rng.integers(5, 33)))
        pen.text((8, top), "".join(map(chr, letters)), fill=0)
    return np.asarray(page, np.float32) / np.float32(255)


def resize(values: FloatArray, side_px: int) -> FloatArray:
    """Return (h, w) float32 resized to a square of that side, bicubic."""
    picture = Image.fromarray(np.ascontiguousarray(values))
    return np.asarray(picture.resize((side_px, side_px), Image.Resampling.BICUBIC), np.float32)
