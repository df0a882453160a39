"""`make_client`: a client of the broker, of an address that redis-py can use."""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from shared.errors import InvalidRequest


def make_client(url: str, **options: Any) -> Redis:  # Any: redis-py's own options
    """A client that connects at its first use.

    Raises:
        InvalidRequest: the address has parameters that redis-py does not know, or values that it does not take; it
            would say so at each connection, in the words of a fault of ours.
    """
    try:
        client = Redis.from_url(url, **options)
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, RedisError) as error:
        raise InvalidRequest(f"PLAINFILM_REDIS_URL cannot be used: {error}") from error
    return client
