"""Which workers are idle: noted by each in Redis before its last look at the database, so that a ring wakes somebody.

While all workers that have noted anything lately are busy, no ring is needed: each of them notes that it is idle, and
then looks once more, before it waits. A film is committed before its web process asks here, so one of the two sees
it. Where nobody has noted anything (older builds, a broker that forgot), all is rung for. A worker that notes nothing
beside busy ones that do, an older build in a rolling upgrade, finds its films at its next poll.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from redis import Redis

from shared.domain import Priority

KEY: Final = "plainfilm:idle-workers"
"""A hash: the worker's name to the classes it waits for, by spaces; none while it is busy."""

NOTED_FOR_S: Final = 10
"""What nobody has renewed for so long is forgotten; each worker renews it at every poll."""

MOST: Final = 256
"""Beyond so many names, dead workers' among them, all are forgotten; the living note it again."""


class IdleWorkers:
    """The hash, by one connection pool; every call may raise RedisError."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def note_idle(self, worker: str, classes: Sequence[Priority]) -> None:
        """It looks once more after this and then waits for films of these classes."""
        self._note(worker, " ".join(classes))

    def note_busy(self, worker: str) -> None:
        """It looks again when it is done."""
        self._note(worker, "")

    def forget(self, worker: str) -> None:
        """It has ended."""
        self._redis.hdel(KEY, worker)

    def may_hear(self, priority: Priority) -> bool:
        """Whether a ring may wake somebody: one that is idle for this class, or nobody has noted anything."""
        noted = cast("list[bytes]", self._redis.hvals(KEY))
        return not noted or any(priority.encode() in classes.split() for classes in noted)

    def _note(self, worker: str, classes: str) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(KEY, worker, classes)
            pipe.expire(KEY, NOTED_FOR_S)
            pipe.hlen(KEY)
            replies: list[Any] = pipe.execute()  # Any: of each command its own
        if replies[-1] > MOST:
            self._redis.delete(KEY)
