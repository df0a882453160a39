"""Verdict flips of an engine that judges by mean brightness: each flip worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.errors import DataProblem
from tests.models import RuleEngine, make_manifest
from training.dataset import Example
from training.fit import ignore
from training.metrics import wilson
from training.report.robustness import measure_robustness

UNSURE, NORMAL = (0.4, 0.3, 0.3), (0.05, 0.9, 0.05)
BELOW_HALF_UNSURE = RuleEngine(make_manifest(preprocessing="grey_scale_v1"), (UNSURE, NORMAL))


def make_film(left: int, right: int) -> np.ndarray:
    """64 x 64 pixels, two even halves."""
    return np.repeat([[left] * 32 + [right] * 32], 64, axis=0).astype(np.uint8)


FILMS = {"middling": make_film(90, 190), "bright": make_film(150, 250)}
ROWS = [Example(Path(name), "normal", name, "test", "", "row") for name in FILMS]


def test_flips_are_counted_by_change() -> None:
    """Mean 140 falls below half of 255 at x0.8, x0.9, gamma 1.25 and inverted; mean 200 only inverted."""
    found = measure_robustness(BELOW_HALF_UNSURE, ROWS, "test", ignore, read=lambda path: FILMS[path.name])
    flips = {change.name: round(change.flips.value * 2) for change in found.changes if change.flips.value}
    assert flips == {"brightness x0.8": 1, "brightness x0.9": 1, "gamma 1.25": 1, "inverted polarity": 2}
    assert found.split == "test"
    assert {change.flips.n for change in found.changes} == {2}


def test_all_changes_are_pooled() -> None:
    """5 flips of 2 films x 13 changes; those of one film are one group, so no narrower than 5 in 26 by themselves."""
    found = measure_robustness(BELOW_HALF_UNSURE, ROWS, "test", ignore, read=lambda path: FILMS[path.name])
    alone = wilson(5, 26)
    assert (found.any_change.value, found.any_change.n) == (alone.value, 26)
    assert found.any_change.low <= alone.low
    assert found.any_change.high >= alone.high


def test_a_16_bit_film_is_changed_as_its_8_bit_copy() -> None:
    """The same picture in 16 bits flips at the same changes."""
    found = [
        measure_robustness(BELOW_HALF_UNSURE, ROWS, "test", ignore, read=lambda path, d=deep: read_as(path, is_deep=d))
        for deep in (False, True)
    ]
    assert found[0] == found[1]


def read_as(path: Path, *, is_deep: bool) -> np.ndarray:
    """The film, in 16 bits where asked."""
    film = FILMS[path.name]
    return film.astype(np.uint16) * 257 if is_deep else film


def test_progress_counts_films() -> None:
    """The last report is all of all."""
    seen: list[tuple[str, int, int]] = []
    read = {row.path: FILMS[row.path.name] for row in ROWS}
    measure_robustness(BELOW_HALF_UNSURE, ROWS, "test", lambda *step: seen.append(step), read=read.__getitem__)
    assert [step[1:] for step in seen] == [(1, 2), (2, 2)]


def test_no_films_are_no_flips() -> None:
    """An empty split has n 0 everywhere."""
    found = measure_robustness(BELOW_HALF_UNSURE, [], "test", ignore)
    assert (found.any_change.n, found.any_change.value) == (0, 0.0)


def test_unreadable_film_is_named() -> None:
    """Before any film is changed."""
    row = Example(Path("gone.png"), "normal", "g", "test", "", "films.csv line 4")
    with pytest.raises(DataProblem, match=r"films\.csv line 4"):
        measure_robustness(BELOW_HALF_UNSURE, [row], "test", ignore)
