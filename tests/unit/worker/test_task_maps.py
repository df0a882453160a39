"""A ring wakes the thread that makes maps, beside the films; it polls too, and so does without rings."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from celery import Celery
from sqlalchemy import select

from shared.db import explanation_queries
from shared.db.tables import Explanation
from shared.errors import DatabaseDown
from shared.wiring import Resources, new_job_id
from tests.explanations import RuleExplainer, make_explanation
from tests.kitchens import make_film
from tests.waiting import wait_until
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


def test_a_ring_for_a_map_that_waits_wakes_its_thread(
    runtime: Runtime, explain: Celery, explainer: RuleExplainer, resources: Resources
) -> None:
    """It makes none itself, so that films are heard of meanwhile; rings for what is done, or no id, only look."""
    waiting = map_of_a_film(resources, runtime)
    assert explain(waiting) is None
    assert runtime.explanations_wanted.is_set()
    assert (map_states(resources), explainer.asked) == (["queued"], [])
    runtime.explanations_wanted.clear()
    assert runtime.explain()
    for explanation_id in (waiting, new_job_id(), "", "x" * 10_000):
        explain(explanation_id)
    assert not runtime.explanations_wanted.is_set()


def test_films_come_before_maps(runtime: Runtime, explainer: RuleExplainer, resources: Resources) -> None:
    """While a film is due no map is begun; after it they are."""
    for _ in range(2):
        map_of_a_film(resources, runtime)
    make_film(resources)
    assert not runtime.explain()
    assert (map_states(resources), explainer.asked) == (["queued", "queued"], [])
    runtime.work()
    assert runtime.explain()
    assert sorted(map_states(resources)) == ["queued", "succeeded"]


def test_no_film_waits_for_a_map(runtime: Runtime, explainer: RuleExplainer, resources: Resources) -> None:
    """One that comes while a map is made is answered before that is done."""
    map_of_a_film(resources, runtime)
    seen: list[tuple[int, list[str]]] = []

    def work() -> None:
        make_film(resources)
        seen.append((runtime.work().succeeded, map_states(resources)))

    def meddle() -> None:
        if not seen:
            beside = threading.Thread(target=work)
            beside.start()
            beside.join(60)

    explainer.meddle = meddle
    assert runtime.explain()
    assert seen == [(1, ["running"])]
    assert map_states(resources) == ["succeeded"]


def test_a_film_that_came_while_another_map_was_made_goes_first(
    runtime: Runtime, explainer: RuleExplainer, resources: Resources
) -> None:
    """Looked at when the turn is had, not when it is asked for."""
    map_of_a_film(resources, runtime)
    runtime.explain_lock.acquire()
    waiting = threading.Thread(target=runtime.explain)
    waiting.start()
    make_film(resources)
    runtime.explain_lock.release()
    waiting.join()
    assert (map_states(resources), explainer.asked) == (["queued"], [])


def test_the_loop_makes_all_maps_without_a_ring(
    runtime: Runtime, explainer: RuleExplainer, resources: Resources
) -> None:
    """The broker may be away."""
    for _ in range(2):
        map_of_a_film(resources, runtime)
    explainer.meddle = lambda: runtime.shutdown.request() if map_states(resources).count("succeeded") else None
    loops.explain_loop(runtime)
    assert map_states(resources) == ["succeeded", "succeeded"]


def test_a_woken_loop_looks_before_its_next_poll(
    runtime: Runtime, explainer: RuleExplainer, resources: Resources
) -> None:
    """A ring is answered at once, also where polls are an hour apart; a fault in one turn does not end it."""
    settings = resources.settings.model_copy(update={"poll_s": 3600.0})
    runtime.kitchen = replace(runtime.kitchen, resources=replace(resources, settings=settings))
    loop = threading.Thread(target=loops.explain_loop, args=(runtime,))
    with pytest.MonkeyPatch.context() as patch:
        broken = threading.Event()
        patch.setattr(turns, "explain_next", lambda desk: broken.set() or broken_desk(desk))
        map_of_a_film(resources, runtime)
        loop.start()
        assert broken.wait(60)
    runtime.explanations_wanted.set()
    wait_until(lambda: map_states(resources) == ["succeeded"], "the map to be made")
    runtime.end()
    loop.join(60)
    assert not loop.is_alive()
    assert explainer.asked


def test_a_worker_that_makes_no_maps_claims_none(runtime: Runtime, resources: Resources) -> None:
    """They wait for one that does, and its sign of life does not promise any."""
    map_of_a_film(resources, runtime)
    loops.explain_loop(runtime)
    assert not runtime.explain()
    assert map_states(resources) == ["queued"]
    runtime.beat()
    with resources.database.read() as session:
        assert explanation_queries.count_live_explainers(session, resources.database.now(session)) == 0


def test_a_fault_gives_the_turn_back(
    runtime: Runtime, explainer: RuleExplainer, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one can be made."""
    map_of_a_film(resources, runtime)
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
    runtime.shutdown.announced.set(sig="SIGTERM")
    assert not runtime.shutdown.is_requested
    assert not runtime.explain()
    assert map_states(resources) == ["queued"]
