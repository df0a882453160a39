"""`/livez` asks nothing; `/readyz` says what is missing and fails only for what requests need."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, text, update
from sqlalchemy.exc import OperationalError

from shared.db import schema
from shared.db.engine import Database, make_engine
from shared.db.tables import Model, WorkerHeartbeat
from shared.health_wire import Readiness
from shared.wiring import Resources
from tests.api import Api
from tests.fakes import FixedClock, MemoryBlobs, RecordingQueue
from tests.jobs import register_model


def ask(resources: Resources) -> tuple[int, Readiness]:
    """What /readyz answers to anybody."""
    response = Api(resources, None).get("/readyz")
    return response.status_code, Readiness.model_validate_json(response.data)


def with_database(resources: Resources, url: str) -> Resources:
    """The same on another database."""
    return replace(resources, database=Database(make_engine(url)))


def test_a_whole_service_is_ready(resources: Resources) -> None:
    """Database at this build's schema, broker up, no worker yet."""
    parts = {"database": "up", "schema_version": schema.HEAD, "broker": "up", "films": "up"}
    assert ask(resources) == (200, Readiness(ready=True, workers=0, **parts))


def test_a_missing_broker_only_degrades(resources: Resources) -> None:
    """Still 200, and it is told."""
    assert isinstance(resources.queue, RecordingQueue)
    resources.queue.down = True
    status, state = ask(resources)
    assert (status, state.ready, state.broker) == (200, True, "down")


def test_without_its_films_it_is_not_ready(resources: Resources) -> None:
    """No film could be taken: another home, or a volume that is not mounted."""
    assert isinstance(resources.blobs, MemoryBlobs)
    resources.blobs.away = True
    status, state = ask(resources)
    assert (status, state.ready, state.films, state.database) == (503, False, "down", "up")


def test_a_worker_that_only_explains_reads_no_films(resources: Resources) -> None:
    """It is alive, and no film would be read: not counted."""
    sha256, now = register_model(resources.database), datetime.now(UTC)
    with resources.database.begin() as session:
        for name, queues in (("w1", "explain"), ("w2", "stat,explain")):
            session.add(WorkerHeartbeat(worker=name, queues=queues, model_sha256=sha256, device="cpu",
                                        started_at=now, polled_at=now))  # fmt: skip
    assert ask(resources)[1].workers == 1


def test_only_workers_that_polled_lately_count(resources: Resources) -> None:
    """Fifteen seconds of silence are too many."""
    clock = FixedClock()
    still = replace(resources, database=Database(make_engine(resources.settings.sql_url), clock))
    sha256, now = register_model(still.database), clock.now
    with still.database.begin() as session:
        for name, age_s in (("a", 1), ("b", 14), ("c", 16)):
            beat = WorkerHeartbeat(worker=name, queues="stat", model_sha256=sha256, device="cpu", started_at=now)
            beat.polled_at = now - timedelta(seconds=age_s)
            session.add(beat)
    assert ask(still)[1].workers == 2
    still.database.close()


def test_the_model_that_serves_is_told(resources: Resources) -> None:
    """Where all workers that are alive have the same one: of several nobody could say which will answer."""
    ours, now = register_model(resources.database), datetime.now(UTC)
    other = "e" * 64
    with resources.database.begin() as session:
        session.add(Model(weights_sha256=other, name="m", version="2", manifest="{}", registered_at=now))
        session.flush()
        for name, sha256, age_s in (("a", ours, 1), ("b", ours, 1), ("gone", other, 60)):
            session.add(WorkerHeartbeat(worker=name, queues="stat", model_sha256=sha256, device="cpu", golden="passed",
                                        started_at=now, polled_at=now - timedelta(seconds=age_s)))  # fmt: skip
    assert ask(resources)[1].model_sha256 == ours
    with resources.database.begin() as session:
        session.execute(update(WorkerHeartbeat).where(WorkerHeartbeat.worker == "b").values(model_sha256=other))
    assert ask(resources)[1].model_sha256 is None


@pytest.mark.parametrize(
    ("states", "told"),
    [({}, "no_worker"), ({"a": "passed"}, "passed"), ({"a": "passed", "b": "absent"}, "absent")],
    ids=["nobody", "all", "not all"],
)
def test_the_golden_films_are_told(resources: Resources, states: dict[str, str], told: str) -> None:
    """'passed' only where every worker that is alive checked its model; one long silent does not count."""
    sha256, now = register_model(resources.database), datetime.now(UTC)
    with resources.database.begin() as session:
        for name, golden in (states | {"gone": "absent"}).items():
            beat = WorkerHeartbeat(worker=name, queues="stat", model_sha256=sha256, device="cpu", golden=golden)
            beat.started_at = now
            beat.polled_at = now - timedelta(seconds=60 if name == "gone" else 1)
            session.add(beat)
    assert ask(resources)[1].golden == told


def test_a_database_never_migrated_is_not_ready(resources: Resources, tmp_path: Path) -> None:
    """503 with what to mend."""
    status, state = ask(with_database(resources, f"sqlite:///{tmp_path / 'empty.db'}"))
    assert (status, state.ready, state.database, state.schema_version) == (503, False, "not_migrated", "none")


def test_a_newer_schema_is_not_ready(resources: Resources) -> None:
    """A build does not touch tables that it does not know."""
    with resources.database.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    status, state = ask(resources)
    assert (status, state.database, state.schema_version) == (503, "wrong_schema", "9999")


def test_a_dead_database_is_not_ready(resources: Resources) -> None:
    """503 without its address; /livez still answers."""
    dead = with_database(resources, resources.settings.sql_url)

    def refuse(*_arguments: object) -> None:
        raise OperationalError("connect", None, ConnectionRefusedError("at 10.0.0.7"))

    event.listen(dead.database.engine, "do_connect", refuse)
    status, state = ask(dead)
    assert (status, state.ready, state.database) == (503, False, "database_down")
    assert "10.0.0.7" not in state.model_dump_json()
    alive = Api(dead, None).get("/livez")
    assert (alive.status_code, alive.text, alive.mimetype) == (200, "ok\n", "text/plain")


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_health_is_never_cached(resources: Resources, path: str) -> None:
    """Yesterday's health is no health."""
    assert Api(resources, None).get(path).headers["Cache-Control"] == "no-store"


def test_who_only_explains_counts_for_nothing_that_is_told_of_workers(resources: Resources) -> None:
    """It takes no film, whatever its model says."""
    sha256, now = register_model(resources.database), datetime.now(UTC)
    with resources.database.begin() as session:
        session.add(WorkerHeartbeat(worker="w", queues="explain", model_sha256=sha256, device="cpu", golden="passed",
                                    started_at=now, polled_at=now))  # fmt: skip
    state = ask(resources)[1]
    assert (state.workers, state.golden, state.model_sha256) == (0, "no_worker", None)
