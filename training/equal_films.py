"""Films that are equal, by their bytes or by their decoded pixels: each is counted once, and told of by its row.

Two files of one film are no mistake where their labels agree; where they do not, one of the labels is wrong. Called by
`plainfilm evaluate`, for films that come without a check of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from shared.arrays import Pixels
from training.dataset import Example, ReadFilm, film_sha256, read_film, refuse
from training.film_checks import check_films


def count_once(examples: Sequence[Example], read: ReadFilm = read_film) -> tuple[tuple[Example, ...], tuple[str, ...]]:
    """Return the first of each set of equal films, and a sentence for each film left out.

    Raises:
        DataProblem: naming each film that cannot be read, else each that equals an earlier one with another label.
    """
    digests = _pixel_digests(examples, read)
    firsts: dict[str, Example] = {}
    kept: list[Example] = []
    copies: list[tuple[Example, Example]] = []
    for example in examples:
        first = firsts.setdefault(digests[example.path], example)
        if first is example:
            kept.append(example)
        else:
            copies.append((example, first))
    refuse([f"{_same(*pair)}, but '{pair[0].label}' and not '{pair[1].label}'." for pair in _contradicting(copies)])
    return tuple(kept), tuple(f"{_same(*pair)}: it is counted once." for pair in copies)


def _contradicting(copies: Iterable[tuple[Example, Example]]) -> list[tuple[Example, Example]]:
    return [(copy, first) for copy, first in copies if copy.label != first.label]


def _pixel_digests(examples: Sequence[Example], read: ReadFilm) -> dict[Path, str]:
    """Return the digest of each film's pixels, in one pass that also checks that every film can be read."""
    digests: dict[Path, str] = {}

    def note(path: Path) -> Pixels:
        pixels = read(path)
        digests[path] = hashlib.sha256(f"{pixels.shape} {pixels.dtype.str} ".encode() + pixels.tobytes()).hexdigest()
        return pixels

    check_films(examples, note)
    return digests


def _same(copy: Example, first: Example) -> str:
    kind = "byte for byte" if film_sha256(copy.path) == film_sha256(first.path) else "pixel for pixel"
    return f"{copy.where}: the film {copy.path.name} is {kind} {first.path.name} at {first.where}"
