"""Adapters of a broker for tests: they wait for one that stands still, as a busy machine lets it."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from shared import notify, queueing
from shared.redis_client import make_client
from tests.waiting import LIMIT_S


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queues and notifiers that are made from now on lose nothing to the second that the product gives a broker."""
    for module in (notify, queueing):
        monkeypatch.setattr(module, "make_client", make_patient_client)


def make_patient_client(url: str, **options: Any) -> Redis:  # Any: redis-py's own options
    """As `make_client`."""
    return make_client(url, **options | {"socket_timeout": LIMIT_S, "socket_connect_timeout": LIMIT_S})
