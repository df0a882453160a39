"""Keeps a trial's parts running: starts again what dies, however often, and stops all of them in the end.

Unlike the product's supervisor it never waits long: a trial is short. All parts are started by the keeper's one
thread, since the kernel ends a part with the thread that started it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import proc
from tests.chaos.proc import Process

ROOT = Path(__file__).resolve().parents[2]
TICK_S = 0.1
PAUSE_S = 0.4
STOP_GRACE_S = 6.0


@dataclass(slots=True)
class Part:
    """One process that is kept.

    Attributes:
        arguments: of `tests.chaos.entry`.
        stop_by: the signal that asks it to end.
        is_solo: a worker that computes in the process itself, which then counts as its child.
        held_until: monotonic time before which it is not started again.
        statuses: how it ended each time.
        sightings: of each living child of it: first and last wall time seen.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_by: int = signal.SIGTERM
    is_solo: bool = False
    is_wanted: bool = True
    held_until: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    statuses: list[int] = field(default_factory=list)
    sightings: dict[int, tuple[float, float]] = field(default_factory=dict)

    def found(self) -> Process | None:
        """The living process, or None."""
        running = self.process
        return None if running is None else proc.find(running.pid)

    def children(self) -> list[Process]:
        """Its living children: the processes that do its work."""
        running = self.found()
        if running is None:
            return []
        return [running] if self.is_solo else proc.children(running.pid)

    def seen(self) -> list[tuple[int, tuple[float, float]]]:
        """Its sightings so far, while the keeper goes on looking."""
        return list(self.sightings.items())


class Keeper(threading.Thread):
    """A thread that tends parts until `close`.

    Args:
        logs: folder of the parts' output, one file each.
    """

    def __init__(self, logs: Path) -> None:
        super().__init__(name="keeper", daemon=True)
        self.logs = logs
        self.parts: list[Part] = []
        self._over = threading.Event()
        self._guard = threading.Lock()

    def add(self, part: Part) -> None:
        """Start a part and keep it."""
        self.parts.append(part)

    def retire(self, parts: Sequence[Part]) -> None:
        """Stop parts: asked first, killed after `STOP_GRACE_S`; returns when they have ended, or the thread has."""
        for part in parts:
            with self._guard:  # a part that is just being started is there to be asked
                part.is_wanted = False
            _signal_group(part, part.stop_by)
        give_up_at = time.monotonic() + STOP_GRACE_S
        while self.is_alive() and any(part.process is not None for part in parts):
            if time.monotonic() > give_up_at:
                for part in parts:
                    _signal_group(part, signal.SIGKILL)
            time.sleep(TICK_S)

    def close(self) -> None:
        """Stop everything, the last started first."""
        for part in reversed(list(self.parts)):
            self.retire([part])
        self._over.set()
        self.join()

    def run(self) -> None:
        """Tend every part, again and again."""
        while not self._over.wait(TICK_S):
            for part in list(self.parts):
                self._tend(part)

    def _tend(self, part: Part) -> None:
        if part.process is None:
            with self._guard:
                if part.is_wanted and time.monotonic() >= part.held_until:
                    self._start(part)
            return
        status = part.process.poll()
        if status is None:
            _sight(part)
            return
        _signal_group(part, signal.SIGKILL)  # as a container would take the rest along
        part.statuses.append(status)
        part.held_until = max(part.held_until, time.monotonic() + PAUSE_S)
        part.process = None

    def _start(self, part: Part) -> None:
        with (self.logs / f"{part.name}.log").open("ab") as log:
            part.process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.entry", *part.arguments],
                cwd=ROOT,
                env={**os.environ, **part.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _sight(part: Part) -> None:
    now = time.time()
    for child in part.children():
        first, _ = part.sightings.get(child.pid, (now, now))
        part.sightings[child.pid] = (first, now)


def _signal_group(part: Part, number: int) -> None:
    running = part.process
    if running is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(running.pid, number)
