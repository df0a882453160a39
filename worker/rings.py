"""Rings that are still to come for films claimed already: most of them, under load, since a batch takes many films.

Such a ring needs no look at the database. Another one for the same film looks again, and so does one that comes late:
the film may be queued anew by then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

MOST: Final = 4096
"""The oldest are forgotten beyond it; their rings cost a look."""

LATE_S: Final = 8.0
"""Less than `ring_after_s` after the claim, before which the sweeper does not ring for a film that was put back."""


class PendingRings:
    """Films that this process claimed and that have not rung since; safe for threads.

    Args:
        clock: seconds that only rise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._claimed_at: dict[str, float] = {}
        self._guard = threading.Lock()

    def expect(self, job_ids: Iterable[str]) -> None:
        """These films have been claimed."""
        with self._guard:
            self._claimed_at.update(dict.fromkeys(job_ids, self._clock()))
            while len(self._claimed_at) > MOST:
                del self._claimed_at[next(iter(self._claimed_at))]

    def settle(self, job_id: str) -> bool:
        """True, once, for a film that was claimed a moment before it rang."""
        with self._guard:
            claimed_at = self._claimed_at.pop(job_id, None)
        return claimed_at is not None and self._clock() - claimed_at < LATE_S
