"""A labelled film on disk: its row, its pixels, its digest; and `refuse`, by which all checks of films report.

`manifest_csv.py` and `class_layout.py` read the rows, `film_checks.py` checks them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from shared.arrays import Pixels
from shared.errors import DataProblem
from shared.imaging.decode import decode

ReadFilm = Callable[[Path], Pixels]

LISTED: Final = 20
"""Sentences shown together at most; of further ones the number is given."""


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled film.

    Attributes:
        path: the file.
        label: its class.
        group: films that must stay on one side of every split (a patient, a cluster of near-duplicates).
        split: the split that the film belongs to.
        pool: the source of the film, for balancing; '' where not stated.
        where: 'manifest.csv line 12', for messages.
    """

    path: Path
    label: str
    group: str
    split: str
    pool: str
    where: str


def read_film(path: Path) -> Pixels:
    """Return the film's canonical grey pixels (H, W), by the decoder that serves."""
    return decode(path.read_bytes()).pixels


def film_sha256(path: Path) -> str:
    """Return the SHA-256 of the file's bytes; it is computed once for each path, size and time of change."""
    facts = path.stat()
    return _sha256_of(path, facts.st_size, facts.st_mtime_ns)


def sha256_or_none(path: Path) -> str | None:
    """Return `film_sha256`; None where the file cannot be read, which is left to the code that reads it."""
    try:
        return film_sha256(path)
    except OSError:
        return None


@cache
def _sha256_of(path: Path, _size: int, _changed_ns: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def shorten(sentences: Sequence[str]) -> list[str]:
    """Return the first `LISTED` sentences and, where there are more, a line with their number."""
    more = len(sentences) - LISTED
    return [*sentences[:LISTED], *([f"... and {more} more"] if more > 0 else [])]


def refuse(problems: Sequence[str]) -> None:
    """Do nothing where there is no problem.

    Raises:
        DataProblem: naming the first `LISTED` problems, one a line.
    """
    if not problems:
        return
    lines = shorten(problems)
    raise DataProblem(lines[0] if len(problems) == 1 else "\n  ".join([f"{len(problems)} problems:", *lines]))
