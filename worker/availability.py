"""Whether web processes need to ring for this worker, as it announces in Redis.

The announcements are advice: the poll loop finds each film that was not rung for. `worker/pipeline.py` announces busy,
`worker/loops.py` and `worker/tasks.py` announce idle.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.domain import Priority
from shared.ports import Queue


class Availability:
    """The last announcement of this worker: busy (web processes do not ring for it) or idle (they ring).

    Invariant: announce busy only with more than one film in hand, since for a single film the announcement costs more
    than the ring it saves. Announce idle once no film is due, then check once more: a film committed while this worker
    was busy was not rung for. A film is committed before its web process reads the announcements, so either the web
    process finds this worker idle and rings, or the check finds the film.

    Both methods are called with the batch lock held (`Runtime.batch_lock`); `is_busy` may be read without it.

    Args:
        queue: carries the announcements; a broker that is down is logged, not raised.
        worker: the name of this worker.
        priorities: those of the films that this worker takes.
    """

    def __init__(self, queue: Queue, worker: str, priorities: Sequence[Priority]) -> None:
        self._queue, self._worker, self._priorities = queue, worker, priorities
        self._is_busy = False

    @property
    def is_busy(self) -> bool:
        """True from `announce_busy` until `announce_idle`."""
        return self._is_busy

    def announce_busy(self) -> None:
        """Announce that this worker needs no rings until it announces idle."""
        self._is_busy = True
        self._queue.note_busy(self._worker)

    def announce_idle(self, *, force: bool = False) -> bool:
        """Announce that this worker needs rings, if it had announced busy; the caller must then check for due films.

        Args:
            force: announce anyway, which renews the Redis entry.

        Returns:
            True if it was announced.
        """
        if not (force or self._is_busy):
            return False
        self._is_busy = False
        self._queue.note_idle(self._worker, self._priorities)
        return True
