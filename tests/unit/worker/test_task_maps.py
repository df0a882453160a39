"""A ring makes the child make one map, after the films; the poll loop does without rings."""

from __future__ import annotations

import threading

import pytest
from celery import Celery
from sqlalchemy import select

from shared.db import explanation_queries
from shared.db.tables import Explanation
from shared.errors import DatabaseDown
from shared.wiring import Resources, new_job_id
from tests.explanations import RuleExplainer, make_explanation
from tests.kitchens import make_film
from worker import loops
from worker import runtime as turns
from worker.explain import Desk
from worker.runtime import Runtime


def map_of_a_film(resources: Resources, runtime: Runtime) -> str:
    """A classified film whose gradient map is asked for."""
    job_id = make_film(resources)
    runtime.work()
    return make_explanation(resources.database, job_id)


def map_states(resources: Resources) -> list[str]:
    """Of all explanations."""
    with resources.database.read() as session:
        return list(session.scalars(select(Explanation.state).order_by(Explanation.id)))


def test_a_ring_makes_one_map(
    runtime: Runtime, explain: Celery, explainer: RuleExplainer, resources: Resources
) -> None:
    """So that a worker told to end can; rings for what is done, unknown or no id at all only look."""
    first, second = (map_of_a_film(resources, runtime) for _ in range(2))
    assert explain(first) is None
    assert sorted(map_states(resources)) == ["done", "queued"]
    assert explain(second) is None
    assert map_states(resources) == ["done", "done"]
    asked = len(explainer.asked)
    for explanation_id in (first, second, new_job_id(), "", "x" * 10_000):
        explain(explanation_id)
    assert len(explainer.asked) == asked


def test_films_come_before_maps(
    runtime: Runtime, explain: Celery, explainer: RuleExplainer, resources: Resources
) -> None:
    """While a film is due no map is begun; one that comes meanwhile waits for one map only."""
    first, _ = (map_of_a_film(resources, runtime) for _ in range(2))
    waiting = make_film(resources)
    explain(first)
    assert map_states(resources) == ["queued", "queued"]
    runtime.work()
    explainer.meddle = lambda: make_film(resources) if waiting else None
    explain(first)
    assert sorted(map_states(resources)) == ["done", "queued"]


def test_a_film_that_came_while_the_turn_was_waited_for_goes_first(
    runtime: Runtime, explainer: RuleExplainer, resources: Resources
) -> None:
    """The other thread is at a map, a film comes, this thread gets the turn: no second map before the film."""
    map_of_a_film(resources, runtime)
    runtime.turn.acquire()
    waiting = threading.Thread(target=runtime.explain)
    waiting.start()
    make_film(resources)
    runtime.turn.release()
    waiting.join()
    assert (map_states(resources), explainer.asked) == (["queued"], [])


def test_many_maps_do_not_hide_what_dead_workers_held(
    runtime: Runtime, explainer: RuleExplainer, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each map it is looked for; the films that come back go before the next map."""
    for _ in range(2):
        map_of_a_film(resources, runtime)
    swept: list[int] = []

    def sweep(_resources: Resources, _worker: str) -> None:
        swept.append(len(explainer.asked))
        make_film(resources)

    monkeypatch.setattr(loops.sweep, "sweep", sweep)
    loops.explain_due(runtime)
    assert [asked > 0 for asked in swept] == [True]
    assert sorted(map_states(resources)) == ["done", "queued"]


def test_the_loop_makes_maps_without_a_ring(runtime: Runtime, explainer: RuleExplainer, resources: Resources) -> None:
    """The broker may be away."""
    map_of_a_film(resources, runtime)
    explainer.meddle = runtime.stop.set
    loops.poll_loop(runtime)
    assert map_states(resources) == ["done"]


def test_a_worker_that_makes_no_maps_claims_none(runtime: Runtime, explain: Celery, resources: Resources) -> None:
    """They wait for one that does, and its sign of life does not promise any."""
    waiting = map_of_a_film(resources, runtime)
    explain(waiting)
    loops.explain_due(runtime)
    assert not runtime.explain()
    assert map_states(resources) == ["queued"]
    runtime.beat()
    with resources.database.read() as session:
        assert explanation_queries.count_live_explainers(session, resources.database.now(session)) == 0


def test_map_and_film_take_turns(
    runtime: Runtime, explainer: RuleExplainer, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a batch is in hand no map is begun, and none is claimed; a fault gives the turn back."""
    monkeypatch.setattr(turns, "TURN_WAIT_S", 0.01)
    map_of_a_film(resources, runtime)
    with runtime.turn:
        assert not runtime.explain()
        assert map_states(resources) == ["queued"]
    with monkeypatch.context() as patch:
        patch.setattr(turns, "explain_next", broken_desk)
        with pytest.raises(DatabaseDown):
            runtime.explain()
    assert runtime.explain()
    assert explainer.asked


def broken_desk(_desk: Desk) -> bool:
    """The database went away at the claim."""
    raise DatabaseDown("away")


def test_a_worker_told_to_end_begins_no_map(resources: Resources, runtime: Runtime) -> None:
    """As soon as Celery hears it, whatever waits."""
    map_of_a_film(resources, runtime)
    runtime.ending.tell(sig="SIGTERM")
    assert not runtime.stop.is_set()
    assert not runtime.explain()
    assert map_states(resources) == ["queued"]
