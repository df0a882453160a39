"""Films for the loads: `tests/bench/films.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.imaging.decode import decode
from tests.bench import films
from tests.bench.films import Order
from tests.bench.plan import FilmSort, Kind


@pytest.mark.parametrize("kind", list(Kind))
def test_films_are_distinct_and_repeatable(kind: Kind, tmp_path: Path) -> None:
    """Two from one sample differ; the same number and seed give the same bytes; both are films of the asked size."""
    sort = FilmSort(kind, 96)
    for name, number in (("one", 0), ("again", 0), ("other", 12)):
        films.make(Order(sort, number, tmp_path / name), seed=1)
    one, again, other = ((tmp_path / name).read_bytes() for name in ("one", "again", "other"))
    assert one == again != other
    film = decode(one)
    assert (film.facts.kind, film.facts.mode, film.pixels.shape) == (kind.value, "L", (96, 96))
