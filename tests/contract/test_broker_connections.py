"""A client's connections to the broker: so many, and whoever finds all in use waits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from redis.exceptions import ConnectionError as BrokerDown

from shared import redis_client
from shared.redis_client import MOST_CONNECTIONS, make_client


def test_whoever_finds_all_connections_in_use_waits_for_one(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is not told at once that the broker is away: two hundred may ask at the same time."""
    monkeypatch.setattr(redis_client, "WAIT_S", 60.0)
    with make_client(broker_url) as broker, ThreadPoolExecutor(150) as pool:
        assert all(pool.map(lambda _: broker.ping(), range(200)))


def test_there_is_an_end_to_waiting(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that nobody gives back is an error like a broker's."""
    monkeypatch.setattr(redis_client, "WAIT_S", 0.1)
    with make_client(broker_url) as broker:
        held = [broker.connection_pool.get_connection() for _ in range(MOST_CONNECTIONS)]
        with pytest.raises(BrokerDown, match="No connection"):
            broker.ping()
        for connection in held:
            broker.connection_pool.release(connection)
        assert broker.ping()
