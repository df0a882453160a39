"""Fixtures only: what several files of this floor need."""

from __future__ import annotations

import pytest

from shared.db.engine import Database
from shared.webhooks.dispatch import Dispatcher
from tests.webhooks import make_dispatcher


@pytest.fixture
def dispatcher(database: Database) -> Dispatcher:
    """One that may send to this machine."""
    return make_dispatcher(database)
