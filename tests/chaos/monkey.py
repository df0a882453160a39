"""Strikes at the times of the plan, and writes down whom: each kill with its pid, confirmed dead in /proc.

It knows no design: what a blow means is told by `Targets` (`targets` for plainfilm, `rival_targets` for Celery).
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.chaos import proc
from tests.chaos.plan import KILLS, Blow, Planned
from tests.chaos.proc import Process

TARGET_WAIT_S = 8.0
"""A victim that is just being started again is waited for."""

TICK_S = 0.05


@dataclass(frozen=True, slots=True)
class Strike:
    """What one blow did.

    Attributes:
        pid: the victim's, or None where a blow has no victim.
        wall: when its death was confirmed, or the deed done.
        worker: the name by which a struck worker holds its films.
    """

    blow: Blow
    wall: float
    pid: int | None = None
    worker: str | None = None
    note: str = ""

    @property
    def is_kill(self) -> bool:
        """True where a process was killed."""
        return self.blow in KILLS


@dataclass(slots=True)
class Freeze:
    """A process that is stopped until `until` (monotonic)."""

    process: Process
    worker: str
    until: float
    began: float = field(default_factory=time.time)
    ended: float | None = None


Hit = Callable[[], Strike | Freeze | None]
"""Strikes; None where there is nobody to strike just now."""


class Monkey(threading.Thread):
    """A thread that works off a plan.

    Args:
        planned: what to do when, in s after `began` (monotonic).
        hits: how to do it.
        instead: the kill that takes the place of one without a victim; there is always one for it.
        log: file of its deeds.
    """

    def __init__(
        self, planned: Sequence[Planned], hits: Mapping[Blow, Hit], instead: Blow, began: float, log: Path
    ) -> None:
        super().__init__(name="monkey", daemon=True)
        self.strikes: list[Strike] = []
        self.freezes: list[Freeze] = []
        self.missed: list[Blow] = []
        self._planned, self._hits, self._instead, self._began, self._log = planned, hits, instead, began, log
        self._over = threading.Event()

    def run(self) -> None:
        """Strike by strike; what is frozen is thawed in time, and in the end."""
        for planned in self._planned:
            if not self._sleep_until(self._began + planned.due_s):
                break
            self._strike(planned.blow)
        while not self._over.wait(TICK_S) and any(freeze.ended is None for freeze in self.freezes):
            self._thaw(time.monotonic())
        self._thaw(float("inf"))

    def stop(self) -> None:
        """No more blows; returns when all is thawed."""
        self._over.set()
        self.join()

    def _strike(self, blow: Blow) -> None:
        give_up_at = time.monotonic() + TARGET_WAIT_S
        while not self._over.is_set():
            done = self._hits[blow]()
            if done is not None:
                self._record(done)
                return
            if time.monotonic() > give_up_at:
                break
            self._thaw(time.monotonic())
            time.sleep(TICK_S)
        self.missed.append(blow)
        if blow in KILLS and blow is not self._instead:
            self._strike(self._instead)

    def _record(self, done: Strike | Freeze) -> None:
        if isinstance(done, Freeze):
            self.freezes.append(done)
            done = Strike(Blow.FREEZE, done.began, done.process.pid, done.worker)
        self.strikes.append(done)
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(done)) + "\n")

    def _sleep_until(self, moment: float) -> bool:
        """False where it was told to stop."""
        while time.monotonic() < moment:
            self._thaw(time.monotonic())
            if self._over.wait(min(TICK_S, max(0.0, moment - time.monotonic()))):
                return False
        return True

    def _thaw(self, now: float) -> None:
        for freeze in self.freezes:
            if freeze.ended is None and now >= freeze.until:
                proc.send(freeze.process, signal.SIGCONT)
                freeze.ended = time.time()
