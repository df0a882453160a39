"""A kitchen around any engine, on SQLite; a child around it, with its tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from celery import Celery

from shared import queueing
from shared.db.claim_order import Claimant
from shared.domain import Priority
from shared.wiring import Resources
from tests.explanations import RuleExplainer
from tests.fakes import FakeEngine, MemoryBlobs
from tests.jobs import register_model
from tests.kitchens import LongPause, Setting
from worker import boot, heartbeat, tasks
from worker.lease import LeaseKeeper
from worker.runtime import Runtime
from worker.serving import Serving
from worker.stages import Kitchen


@pytest.fixture
def make_setting(resources: Resources) -> Callable[..., Setting]:
    """Builds a kitchen around an engine."""
    register_model(resources.database)

    def make(engine: FakeEngine | None = None, blobs: MemoryBlobs | None = None) -> Setting:
        own = replace(resources, blobs=blobs or resources.blobs)
        keeper = LeaseKeeper(resources.database, lease_s=20.0, run_limit_s=60.0)
        who = Claimant("w1", tuple(Priority), 8, 20.0)
        return Setting(Kitchen(own, engine or FakeEngine(), who, keeper, LongPause()))

    return make


@pytest.fixture
def setting(make_setting: Callable[..., Setting]) -> Setting:
    """A kitchen where all goes well."""
    return make_setting()


@pytest.fixture
def runtime(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """A started child around the fakes, without its threads."""
    who = Claimant("w1", tuple(Priority), 8, 20.0)
    quick = replace(resources, settings=resources.settings.model_copy(update={"poll_s": 0.01}))
    kitchen = Kitchen(quick, FakeEngine(), who, LeaseKeeper(resources.database, 20.0, 60.0))
    made = Runtime(kitchen, Serving(explains=False))
    heartbeat.register_model(resources.database, kitchen.engine.manifest)
    monkeypatch.setattr(boot, "_runtime", made)
    yield made
    shutdown = made.shutdown
    for event in (shutdown.requested, made.films_wanted, made.explanations_wanted, shutdown.finished):
        event.set()  # whatever loop a test that failed left behind


def registered(name: str) -> Iterator[Celery]:
    """A task, registered on an app of its own."""
    app = Celery("test", broker="memory://", set_as_current=False)
    tasks.register(app)
    yield app.tasks[name]
    app.close()


@pytest.fixture
def classify() -> Iterator[Celery]:
    """The task for films."""
    yield from registered(queueing.CLASSIFY)


@pytest.fixture
def explain() -> Iterator[Celery]:
    """The task for explanations."""
    yield from registered(queueing.EXPLAIN)


@pytest.fixture
def explainer(runtime: Runtime) -> RuleExplainer:
    """What the child explains with."""
    made = RuleExplainer()
    runtime.serving = Serving()
    runtime.desk = replace(boot.make_desk(runtime.kitchen, None), load=lambda: made)
    return made
