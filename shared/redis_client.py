"""`make_client`: a client of the broker, once its address was checked to be one that redis-py can use."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from redis import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from shared.errors import InvalidRequest

ALLOWED_PARAMETERS: Final = frozenset({
    "client_name", "db", "health_check_interval", "max_connections", "password", "protocol", "socket_connect_timeout",
    "socket_keepalive", "socket_timeout", "timeout", "username",
})  # fmt: skip
"""Parameters that an address may have, beside those that begin with `ssl_`. redis-py would accept the name of any
argument of its client, also of one that does not take text, and fail at the client's first use."""


BOUNDS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {"max_connections": (1, 10_000), "timeout": (0, 60)}
)
"""Limits of values that redis-py does not check, and that break the pool or let it fill the memory."""

MOST_CONNECTIONS: Final = 16
WAIT_S: Final = 1.0
"""A client has at most this many connections to the broker; a caller that finds all in use waits this long for one.
redis-py's default pool fails the 101st at once, as if the broker were down."""


def make_client(url: str, **options: Any) -> Redis:  # Any: redis-py's own options
    """Return a client that connects at its first use.

    Raises:
        InvalidRequest: the address has a parameter that is not allowed, or a value that redis-py does not accept; it
            would raise only at each connection, which would read as a fault of ours.
    """
    for name, values in parse_qs(urlsplit(url).query, keep_blank_values=True).items():
        if name not in ALLOWED_PARAMETERS and not name.startswith("ssl_"):
            raise InvalidRequest(f"PLAINFILM_REDIS_URL cannot be used: there is no parameter '{name}'; leave it out.")
        if name in BOUNDS and not all(_is_within(value, *BOUNDS[name]) for value in values):
            least, most = BOUNDS[name]
            raise InvalidRequest(f"PLAINFILM_REDIS_URL cannot be used: {name} is no number from {least} to {most}.")
    try:
        bounds = {"max_connections": MOST_CONNECTIONS, "timeout": WAIT_S}
        pool = BlockingConnectionPool.from_url(url, **bounds, **options)
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, RedisError) as error:
        raise InvalidRequest(f"PLAINFILM_REDIS_URL cannot be used: {error}") from error
    return Redis.from_pool(pool)


def _is_within(value: str, least: float, most: float) -> bool:
    """Whether a text is a number from `least` to `most`."""
    try:
        return least <= float(value) <= most
    except ValueError:
        return False
