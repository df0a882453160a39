"""A worker notes that it is busy, and when it is idle looks once more: no film waits for a ring that nobody sends."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from celery import Celery

from shared.domain import Priority
from shared.errors import DatabaseDown
from shared.wiring import Resources
from tests.fakes import RecordingQueue
from tests.kitchens import make_film, states
from worker import loops, pipeline
from worker.runtime import Runtime
from worker.stages import Batch, BatchReport, Kitchen, Outcome, finish


def test_a_film_that_nobody_rang_for_is_answered_by_whoever_was_busy(
    runtime: Runtime, classify: Celery, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came with the last batch in hand, whose worker had noted that it is busy."""
    came: list[str] = []

    def finish_while_one_comes(kitchen: Kitchen, batch: Batch, outcomes: Sequence[Outcome]) -> BatchReport:
        if not came:
            came.append(make_film(resources))
            assert resources.queue.classify(came[0], Priority.ROUTINE)
        return finish(kitchen, batch, outcomes)

    films = [make_film(resources) for _ in range(2)]
    monkeypatch.setattr(pipeline, "finish", finish_while_one_comes)
    classify(films[0])
    assert resources.queue.rings == []
    assert runtime.films_wanted.is_set(), "the poll loop looks at once"
    loops.drain(runtime)
    assert runtime.kitchen.engine.batches == [2, 1]
    assert set(states(resources)) == {"succeeded"}


def test_a_film_alone_wakes_no_loop(runtime: Runtime, classify: Celery, resources: Resources) -> None:
    """Its worker never noted that it is busy, so whatever comes meanwhile rings."""
    classify(make_film(resources))
    assert not runtime.films_wanted.is_set()


def test_a_worker_notes_that_it_is_busy_when_films_come_together(
    runtime: Runtime, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for a film alone, for which it would cost more than the ring that it spares; then it is idle."""
    noted: list[str] = []
    monkeypatch.setattr(RecordingQueue, "note_busy", lambda _, worker: noted.append(worker))
    make_film(resources)
    runtime.work()
    assert noted == []
    for _ in range(2):
        make_film(resources)
    runtime.work()
    assert noted == ["w1"]
    assert resources.queue.noted == {}
    loops.drain(runtime)
    assert resources.queue.noted == {"w1": tuple(Priority)}


def test_a_worker_stays_busy_while_films_are_due(
    runtime: Runtime, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two turns nobody rings: it is idle once, behind the last film, and looks once more after that."""
    turns = 3
    for _ in range(turns * pipeline.BATCHES * runtime.kitchen.who.limit):
        make_film(resources)
    happened: list[str] = []
    note_idle, has_due = RecordingQueue.note_idle, loops._has_due

    def record(queue: RecordingQueue, worker: str, classes: Sequence[Priority]) -> bool:
        happened.append("idle" if classes else "busy")
        return note_idle(queue, worker, classes)

    monkeypatch.setattr(RecordingQueue, "note_idle", record)
    monkeypatch.setattr(loops, "_has_due", lambda kitchen: happened.append("look") or has_due(kitchen))
    loops.drain(runtime)
    assert set(states(resources)) == {"succeeded"}
    assert happened == ["look", "busy"] * turns + ["look", "idle", "look"]


def test_a_film_that_comes_as_a_worker_gets_idle_is_found(
    runtime: Runtime, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody rang for it: the worker had noted that it is busy, and had looked for the last time."""
    for _ in range(2):
        make_film(resources)
    came: list[str] = []
    note_idle = RecordingQueue.note_idle

    def note_late(queue: RecordingQueue, worker: str, classes: Sequence[Priority]) -> bool:
        if classes and not came:
            came.append(make_film(resources))
        return note_idle(queue, worker, classes)

    monkeypatch.setattr(RecordingQueue, "note_idle", note_late)
    loops.drain(runtime)
    assert set(states(resources)) == {"succeeded"}


@pytest.mark.parametrize("is_task", [True, False], ids=["task", "poll loop"])
def test_a_worker_that_failed_is_rung_for(
    runtime: Runtime, classify: Celery, resources: Resources, monkeypatch: pytest.MonkeyPatch, *, is_task: bool
) -> None:
    """It waits for its next poll, since what failed may fail again, but a ring is heard."""
    films = [make_film(resources) for _ in range(2)]

    def fail(*_: object) -> BatchReport:
        raise DatabaseDown("The database does not answer; try again shortly.")

    monkeypatch.setattr(pipeline, "finish", fail)
    with pytest.raises(DatabaseDown):
        classify(films[0]) if is_task else loops.drain(runtime)
    assert resources.queue.noted == {"w1": tuple(Priority)}
    assert not runtime.films_wanted.is_set()


def test_films_that_others_hold_do_not_keep_a_worker_looking(
    runtime: Runtime, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Due and not to be claimed: after a second look it waits for a ring or its next poll."""
    make_film(resources)
    looks: list[BatchReport] = []
    monkeypatch.setattr(pipeline, "process", lambda _: looks.append(BatchReport()) or looks[-1])
    loops.drain(runtime)
    assert len(looks) == loops.CHECKS
