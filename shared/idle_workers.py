"""Which workers are idle: each notes it in Redis before its last look at the database, so that rings wake idle ones.

While all workers with a recent note are busy, no ring is needed: each of them notes that it is idle, and then polls
once more, before it waits. A film is committed before its web process reads the notes, so either the worker's poll or
the web process sees the other. Without any note (older builds, a broker that lost its data) every film is rung for. A
worker that writes no notes beside busy ones that do, as an older build in a rolling upgrade, finds films at its next
poll.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from redis import Redis

from shared.domain import Priority

KEY: Final = "plainfilm:idle-workers"
"""A hash: a worker's name to the priorities that it waits for, separated by spaces; empty while it is busy."""

NOTED_FOR_S: Final = 10
"""The hash expires after this long without a note; each worker renews it at every poll."""

MOST_NAMES: Final = 256
"""With more names, dead workers' among them, the hash is deleted; living workers write their notes again."""


class IdleWorkers:
    """The hash of notes, over one connection pool; every call may raise RedisError."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def note_idle(self, worker: str, priorities: Sequence[Priority]) -> None:
        """Note that a worker is about to poll once more and then wait for films of these priorities."""
        self._note(worker, " ".join(priorities))

    def note_busy(self, worker: str) -> None:
        """Note that a worker is busy; it polls again when it is done."""
        self._note(worker, "")

    def forget(self, worker: str) -> None:
        """Delete the note of a worker that has ended."""
        self._redis.hdel(KEY, worker)

    def may_hear(self, priority: Priority) -> bool:
        """Whether a ring may wake a worker: one is idle for this priority, or there is no note at all."""
        notes = cast("list[bytes]", self._redis.hvals(KEY))
        return not notes or any(priority.encode() in note.split() for note in notes)

    def _note(self, worker: str, priorities: str) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(KEY, worker, priorities)
            pipe.expire(KEY, NOTED_FOR_S)
            pipe.hlen(KEY)
            replies: list[Any] = pipe.execute()  # Any: each command has its own type of reply
        if replies[-1] > MOST_NAMES:
            self._redis.delete(KEY)
