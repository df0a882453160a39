"""A circuit breaker: after some failures in a row, calls are skipped for a while. No I/O of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Breaker:
    """Opens (calls are skipped) for `open_s` after `failures` in a row; then the outcome of one trial call decides.

    Attributes:
        failures: how many failures in a row open it.
        open_s: for how long it stays open.
        clock: monotonic time in seconds.
    """

    failures: int = 5
    open_s: float = 5.0
    clock: Callable[[], float] = time.monotonic
    _failed: int = 0
    _tries_again_at: float = 0.0
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def allows(self) -> bool:
        """Whether a call may be made: False while open; after that True for one trial call per `open_s`."""
        with self._guard:
            if self._failed < self.failures:
                return True
            if self.clock() < self._tries_again_at:
                return False
            self._tries_again_at = self.clock() + self.open_s
            return True

    def note(self, *, worked: bool) -> None:
        """Record the outcome of a call that was allowed."""
        with self._guard:
            self._failed = 0 if worked else self._failed + 1
            if not worked:
                self._tries_again_at = self.clock() + self.open_s
