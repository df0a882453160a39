"""Rings still expected for films that are claimed already: most rings, under load, since a batch holds many films.

Such a ring needs no query. A second ring for the same film does, and so does a late one: the film may have been queued
again by then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

MOST: Final = 4096
"""Beyond this number the oldest entries are dropped; each of their rings costs a query."""

LATE_S: Final = 8.0
"""Shorter than `ring_after_s`, the earliest that the sweeper rings for a film that was queued again."""


class PendingRings:
    """Films that this process claimed and whose ring has not arrived since; thread-safe.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._claimed_at: dict[str, float] = {}
        self._guard = threading.Lock()

    def expect(self, job_ids: Iterable[str]) -> None:
        """Record that these films have been claimed."""
        with self._guard:
            self._claimed_at.update(dict.fromkeys(job_ids, self._clock()))
            while len(self._claimed_at) > MOST:
                del self._claimed_at[next(iter(self._claimed_at))]

    def settle(self, job_id: str) -> bool:
        """Return, once, True for a film that was claimed less than `LATE_S` before its ring arrived."""
        with self._guard:
            claimed_at = self._claimed_at.pop(job_id, None)
        return claimed_at is not None and self._clock() - claimed_at < LATE_S
