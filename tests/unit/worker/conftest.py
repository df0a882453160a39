"""A kitchen around any engine, on SQLite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from shared.db.line import Claimant
from shared.domain import Priority
from shared.wiring import Resources
from tests.fakes import FakeEngine, MemoryBlobs
from tests.jobs import register_model
from tests.kitchens import LongestPause, Setting
from worker.lease import LeaseKeeper
from worker.stages import Kitchen


@pytest.fixture
def make_setting(resources: Resources) -> Callable[..., Setting]:
    """Builds a kitchen around an engine."""
    register_model(resources.database)

    def make(engine: FakeEngine | None = None, blobs: MemoryBlobs | None = None) -> Setting:
        own = replace(resources, blobs=blobs or resources.blobs)
        keeper = LeaseKeeper(resources.database, lease_s=20.0, run_limit_s=60.0)
        who = Claimant("w1", tuple(Priority), 8, 20.0)
        return Setting(Kitchen(own, engine or FakeEngine(), who, keeper, LongestPause()))

    return make


@pytest.fixture
def setting(make_setting: Callable[..., Setting]) -> Setting:
    """A kitchen where all goes well."""
    return make_setting()
