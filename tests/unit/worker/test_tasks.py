"""A ring makes the child work a batch, once; the poll loop does without rings."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from celery import Celery
from sqlalchemy import delete, event, select, update

from shared.db import migrate, schema, worker_queries
from shared.db.engine import Database, make_engine
from shared.db.tables import Job, Model, Result, WorkerHeartbeat
from shared.domain import JobState, Priority
from shared.errors import DatabaseDown, ManifestMismatch
from shared.wiring import Resources, new_job_id
from tests.explanations import RuleExplainer
from tests.fakes import FakeEngine, MemoryBlobs, make_manifest
from tests.jobs import claim
from tests.kitchens import make_film, states
from tests.waiting import wait_until
from worker import awaiting, boot, heartbeat, loops, pipeline
from worker import runtime as turns
from worker.runtime import Runtime
from worker.stages import Batch, BatchReport, Kitchen, Outcome, finish


def test_a_ring_works_a_batch(runtime: Runtime, classify: Celery, resources: Resources) -> None:
    """The film that rang and those that wait with it."""
    first = make_film(resources)
    make_film(resources)
    assert classify(first) is None
    assert states(resources) == ["succeeded", "succeeded"]
    assert runtime.kitchen.engine.batches == [2]


def test_a_ring_behind_a_full_batch_only_looks(runtime: Runtime, classify: Celery, resources: Resources) -> None:
    """Its film is answered, running, unknown or no id at all: the engine rests, though others wait."""
    done = make_film(resources)
    classify(done)
    taken = make_film(resources)
    claim(resources.database)
    waiting = make_film(resources)
    for job_id in (done, taken, new_job_id(), "", "x" * 10_000):
        classify(job_id)
    assert runtime.kitchen.engine.batches == [1]
    classify(waiting)
    assert runtime.kitchen.engine.batches == [1, 1]


def test_the_rings_of_a_batch_cost_no_look(runtime: Runtime, classify: Celery, resources: Resources) -> None:
    """Those of films that the first ring brought; a second ring for one of them looks again."""
    films = [make_film(resources) for _ in range(3)]
    classify(films[0])
    looks: list[str] = []
    event.listen(resources.database.engine, "before_cursor_execute", lambda *sent: looks.append(sent[2]))
    for job_id in films[1:]:
        classify(job_id)
    assert not looks
    classify(films[1])
    assert any(look.startswith("SELECT") for look in looks)
    assert runtime.kitchen.engine.batches == [3]


def test_a_film_that_is_queued_again_is_worked_at_its_next_ring(
    runtime: Runtime, classify: Celery, resources: Resources
) -> None:
    """The ring that brought it settles nothing of the next one."""
    job_id = make_film(resources)
    classify(job_id)
    with resources.database.begin() as session:
        session.execute(update(Job).values(state=JobState.QUEUED, finished_at=None))
        session.execute(delete(Result))
    classify(job_id)
    assert states(resources) == ["succeeded"]


def test_a_ring_in_a_process_without_a_kitchen_is_a_fault(classify: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loud, instead of a film silently not worked."""
    monkeypatch.setattr(boot, "_runtime", None)
    with pytest.raises(RuntimeError, match="not started"):
        classify(new_job_id())


def test_task_and_poll_take_turns(runtime: Runtime, resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the one works, the other gives up after its wait, with nothing claimed."""
    monkeypatch.setattr(turns, "BATCH_LOCK_WAIT_S", 0.01)
    make_film(resources)
    with runtime.batch_lock:
        assert runtime.work() == BatchReport()
    assert runtime.work().succeeded == 1


def test_a_failed_batch_gives_the_turn_back(
    runtime: Runtime, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next batch is worked."""
    make_film(resources)

    def broken(_kitchen: Kitchen) -> BatchReport:
        raise DatabaseDown("away")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "process", broken)
        with pytest.raises(DatabaseDown):
            runtime.work()
    assert runtime.work().succeeded == 1


def test_draining_works_all_that_is_due(runtime: Runtime, resources: Resources) -> None:
    """Batch after batch, with a sign of life between them."""
    for _ in range(20):
        make_film(resources)
    loops.drain(runtime)
    assert set(states(resources)) == {"succeeded"}
    assert runtime.kitchen.engine.batches == [8, 8, 4]
    with resources.database.read() as session:
        assert worker_queries.count_live_workers(session, resources.database.now(session)) == 1


def test_a_long_queue_does_not_hide_what_a_dead_worker_held(runtime: Runtime, resources: Resources) -> None:
    """Its films come back between two batches, not when the queue is empty."""
    lost = make_film(resources)
    claim(resources.database)
    with resources.database.begin() as session:
        session.execute(update(Job).values(lease_until=Job.created_at))
    for _ in range(24):
        make_film(resources)
    loops.drain(runtime)
    with resources.database.read() as session:
        assert session.get_one(Job, lost).state == JobState.SUCCEEDED


def test_a_task_ends_though_films_keep_coming(
    runtime: Runtime, classify: Celery, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery waits for it at a worker's end; the poll loop, which can be told to stop, goes on with the films."""
    came: list[str] = []

    def finish_while_more_come(kitchen: Kitchen, batch: Batch, outcomes: Sequence[Outcome]) -> BatchReport:
        if len(came) < 64:
            came.extend(make_film(resources) for _ in range(2))
        return finish(kitchen, batch, outcomes)

    films = [make_film(resources) for _ in range(2)]
    monkeypatch.setattr(pipeline, "finish", finish_while_more_come)
    classify(films[0])
    assert len(runtime.kitchen.engine.batches) <= pipeline.BATCHES
    assert "queued" in states(resources)


def test_a_woken_loop_looks_before_its_next_poll(
    runtime: Runtime, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only for films: what else it does at a poll waits for that."""
    settings = resources.settings.model_copy(update={"poll_s": 3600.0})
    runtime.kitchen = replace(runtime.kitchen, resources=replace(resources, settings=settings))
    polls: list[str] = []
    monkeypatch.setattr(loops, "sweep", SimpleNamespace(sweep=lambda *_: polls.append("poll")))
    loop = threading.Thread(target=loops.poll_loop, args=(runtime,))
    loop.start()
    wait_until(lambda: polls, "the first poll")
    make_film(resources)
    runtime.films_wanted.set()
    wait_until(lambda: states(resources) == ["succeeded"], "the film to be answered")
    runtime.shutdown.request()
    runtime.films_wanted.set()
    loop.join(60)
    assert not loop.is_alive()
    assert polls == ["poll"]


def test_draining_stops_when_told(runtime: Runtime, resources: Resources) -> None:
    """Even with films waiting."""
    make_film(resources)
    runtime.shutdown.request()
    loops.drain(runtime)
    assert states(resources) == ["queued"]


def test_an_idle_child_takes_no_write_lock(runtime: Runtime, resources: Resources) -> None:
    """Another process holds SQLite's lock; looking for work does not wait for it."""
    with resources.database.begin():
        loops.drain(runtime)


def test_the_loop_polls_beats_and_stops(runtime: Runtime, resources: Resources) -> None:
    """Without any ring a film is answered and the worker noted as idle; afterwards the thread ends."""
    job_id = make_film(resources)
    loop = threading.Thread(target=loops.poll_loop, args=(runtime,))
    loop.start()
    wait_until(lambda: states(resources) == ["succeeded"], "the film to be answered")
    runtime.shutdown.request()
    loop.join(60)
    assert not loop.is_alive()
    with resources.database.read() as session:
        assert session.get_one(Job, job_id).state == JobState.SUCCEEDED
        assert session.scalars(select(WorkerHeartbeat.worker)).all() == ["w1"]
    assert resources.queue.noted == {"w1": tuple(Priority)}, "it is idle"


def test_a_child_whose_films_are_away_claims_none(
    runtime: Runtime, classify: Celery, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by a poll nor by a ring, and it does not count as alive; once they are back it goes on."""
    blobs, job_id = resources.blobs, make_film(resources)
    assert isinstance(blobs, MemoryBlobs)
    monkeypatch.setattr(loops, "BEAT_EVERY_S", 0.01)
    blobs.away = True
    loop = threading.Thread(target=loops.poll_loop, args=(runtime,))
    loop.start()
    wait_until(lambda: not runtime.has_film_folder, "the first poll")
    classify(job_id)
    assert states(resources) == ["queued"]
    with resources.database.read() as session:
        assert session.scalars(select(WorkerHeartbeat.worker)).all() == []
    blobs.away = False
    wait_until(lambda: states(resources) == ["succeeded"], "the films")
    runtime.shutdown.request()
    runtime.films_wanted.set()
    loop.join(60)
    assert not loop.is_alive()


def test_a_beat_says_who_and_what(runtime: Runtime, resources: Resources) -> None:
    """One row a worker, its model and classes; those silent for an hour are forgotten."""
    runtime.beat()
    with resources.database.begin() as session:
        row = session.scalars(select(WorkerHeartbeat)).one()
        assert (row.worker, row.queues, row.device) == ("w1", "stat,routine,bulk", "fake/1")
        gone = resources.database.now(session) - timedelta(hours=2)
        session.add(WorkerHeartbeat(worker="old", queues="", model_sha256=row.model_sha256, device="",
                                    started_at=gone, polled_at=gone))  # fmt: skip
    runtime.beat()
    with resources.database.read() as session:
        assert session.scalars(select(WorkerHeartbeat.worker)).all() == ["w1"]


def test_a_model_is_made_known_once(runtime: Runtime, resources: Resources) -> None:
    """Every child of every start registers; the first one's row stays."""
    heartbeat.register_model(resources.database, runtime.kitchen.engine.manifest)
    with resources.database.read() as session:
        assert session.scalars(select(Model.name)).all() == ["fake"]


def test_the_engine_is_warm_for_one_and_for_a_batch() -> None:
    """Both shapes are traced before the first film."""
    engine = FakeEngine()
    boot.warm_up(engine, 8)
    assert engine.batches == [1, 8]
    assert np.isfinite(engine.infer(np.zeros((1, *engine.manifest.input_shape), np.float32)).probabilities).all()


def test_a_worker_waits_for_the_schema_and_then_says_what_it_misses(tmp_path: Path) -> None:
    """A database without our tables is waited for, then named; one at this build's schema is taken at once."""
    database = Database(make_engine(f"sqlite:///{tmp_path / 'late.db'}"))
    with pytest.raises(DatabaseDown, match=f"not migrated.*{schema.HEAD}.*db upgrade"):
        awaiting.wait_for_database(database, patience_s=0.2)
    late = threading.Timer(0.2, migrate.upgrade, [database])
    late.start()
    awaiting.wait_for_database(database)
    late.join()  # Alembic's context is the process's: the next test may migrate, too
    database.close()


def test_a_model_with_a_foreign_label_is_refused_before_it_serves() -> None:
    """A label that results and pages do not know stops the start, not every film."""
    manifest = make_manifest()
    boot.check_labels(manifest)
    with pytest.raises(ManifestMismatch, match="'fracture'"):
        boot.check_labels(manifest.model_copy(update={"labels": ("normal", "fracture")}))


@pytest.mark.parametrize("lock", ["batch_lock", "explain_lock"])
def test_the_lease_is_kept_until_what_is_in_hand_is_done(runtime: Runtime, lock: str) -> None:
    """Told to stop in mid-batch or with a map in hand, the child keeps renewing: only its end ends the lease loop."""
    stopping = threading.Thread(target=boot.stop)
    with getattr(runtime, lock):
        stopping.start()
        assert runtime.shutdown.requested.wait(30)
        assert not runtime.shutdown.finished.wait(0.1)
    stopping.join()
    assert runtime.shutdown.is_finished


def test_no_sign_of_life_is_left_by_a_worker_that_has_ended(
    runtime: Runtime, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A beat that is under way when its end comes is written before it is taken back, and none comes after it."""
    begun, go_on, beat = threading.Event(), threading.Event(), heartbeat.beat

    def beat_late(*about: Any) -> None:
        begun.set()
        assert go_on.wait(60)
        beat(*about)

    monkeypatch.setattr(heartbeat, "beat", beat_late)
    both = [threading.Thread(target=act) for act in (runtime.beat, boot.stop)]
    both[0].start()
    assert begun.wait(60)
    both[1].start()
    assert runtime.shutdown.finished.wait(60)
    both[1].join(0.3)
    go_on.set()
    for thread in both:
        thread.join()
    runtime.beat()
    assert beats(resources) == []


def test_a_child_gives_signs_of_life_while_it_computes(
    runtime: Runtime, explainer: RuleExplainer, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch may take longer than a silent worker counts as alive; at rest the poll loop alone beats."""
    monkeypatch.setattr(loops, "BEAT_EVERY_S", 0.01)
    beating = threading.Thread(target=loops.beat_loop, args=(runtime,))
    beating.start()
    runtime.shutdown.finished.wait(0.2)
    assert beats(resources) == []
    with runtime.batch_lock:
        wait_until(lambda: beats(resources), "a beat")
    runtime.shutdown.finish()
    beating.join(60)
    assert not beating.is_alive()
    assert beats(resources) == ["stat,routine,bulk,explain"]
    assert explainer.asked == []


def beats(resources: Resources) -> list[str]:
    """What the living workers serve."""
    with resources.database.read() as session:
        return list(session.scalars(select(WorkerHeartbeat.queues)))
