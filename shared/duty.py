"""Which workers sleep: said by each in Redis before its last look at the database, so that a ring wakes somebody.

Where all that have said something lately are at work, no ring is needed: each of them says that it sleeps, and then
looks once more, before it does. A film is committed before its web process asks here, so one of the two sees it. A
worker that says nothing (an older build, a broker that forgot) is rung for, as is one that fell silent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from redis import Redis

from shared.domain import Priority

KEY: Final = "plainfilm:duty"
"""A hash: the worker's name to the classes it sleeps for, by spaces; none while it works."""

SAID_FOR_S: Final = 10
"""What nobody has renewed for so long is forgotten; each worker renews it at every look without a ring."""

MOST: Final = 256
"""Beyond so many names, dead workers' among them, all are forgotten; the living say it again."""


class Duty:
    """The hash, by one connection pool; every call may raise RedisError."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def sleeps(self, worker: str, classes: Sequence[Priority]) -> None:
        """It is about to look for the last time, and takes films of these classes."""
        self._say(worker, " ".join(classes))

    def works(self, worker: str) -> None:
        """It looks again when it is done."""
        self._say(worker, "")

    def leaves(self, worker: str) -> None:
        """It has ended."""
        self._redis.hdel(KEY, worker)

    def is_awaited(self, priority: Priority) -> bool:
        """Whether a ring may wake somebody: one that sleeps for this class, or nobody has said anything."""
        said = cast("list[bytes]", self._redis.hvals(KEY))
        return not said or any(priority.encode() in classes.split() for classes in said)

    def _say(self, worker: str, classes: str) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(KEY, worker, classes)
            pipe.expire(KEY, SAID_FOR_S)
            pipe.hlen(KEY)
            replies: list[Any] = pipe.execute()  # Any: of each command its own
        if replies[-1] > MOST:
            self._redis.delete(KEY)
