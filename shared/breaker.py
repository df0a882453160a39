"""A circuit breaker: after some failures in a row, stop asking for a while. No I/O of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Breaker:
    """Open (calls are skipped) for `open_s` after `failures` in a row; then one call tries, and decides.

    Attributes:
        failures: how many in a row open it.
        open_s: how long it stays open.
        clock: seconds that only rise.
    """

    failures: int = 5
    open_s: float = 5.0
    clock: Callable[[], float] = time.monotonic
    _failed: int = 0
    _tries_again_at: float = 0.0
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def allows(self) -> bool:
        """False while it is open; the first to ask after that is let through, the others wait for its result."""
        with self._guard:
            if self._failed < self.failures:
                return True
            if self.clock() < self._tries_again_at:
                return False
            self._tries_again_at = self.clock() + self.open_s
            return True

    def note(self, *, worked: bool) -> None:
        """What became of a call that was let through."""
        with self._guard:
            self._failed = 0 if worked else self._failed + 1
            if not worked:
                self._tries_again_at = self.clock() + self.open_s
