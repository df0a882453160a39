"""What a run measures: `tests/bench/plan.py` and how `measure.py` shares out the films."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import measure, plan
from tests.bench.designs import all_servers
from tests.bench.plan import Plan


@pytest.mark.parametrize("made", [plan.full(), plan.quick()], ids=["full", "quick"])
def test_no_film_belongs_to_two_loads(made: Plan) -> None:
    """Nor to a load and the warm-up, the cold start or the agreement: no stored result can answer."""
    films = {sort: [Path(f"{sort.name}-{n}") for n in range(count)] for sort, count in made.films.items()}
    used = [path for load in made.loads for path in measure.films_of(load, films, made)]
    used += measure.agreement_films(films)
    for paths in films.values():
        used += paths[: plan.EXTRA - 2] + paths[plan.EXTRA : plan.EXTRA + made.warm]
    assert len(used) == len(set(used)) == sum(map(len, films.values()))
    assert all(len(measure.films_of(load, films, made)) == load.films for load in made.loads)


def test_the_full_run_has_every_load() -> None:
    """PNG and JPEG, two sizes, four numbers of clients, five rounds."""
    made = plan.full()
    assert len({load.name for load in made.loads}) == 2 * 2 * 4
    assert {load.clients for load in made.loads} == {1, 8, 32, 64}
    assert made.rounds == 5


def test_a_slow_design_sends_fewer_films_where_there_are_many() -> None:
    """As many clients as elsewhere have more than a film each to send."""
    limits = {design.name: design.most_films for design in all_servers(is_full=True)}
    assert [name for name, most in limits.items() if most] == ["tutorial"]
    most = limits["tutorial"]
    assert most is not None
    assert all(min(load.films, most) >= 2 * load.clients for load in plan.full().loads)


def test_the_quick_run_has_the_reported_loads() -> None:
    """So that its ratios are all there."""
    names = {load.name for load in plan.quick().loads}
    assert names == {"png-1024-1", "png-1024-32", "jpeg-1024-1", "jpeg-1024-32"}
