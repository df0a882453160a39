"""Whom each blow hits in the Celery design: a pool child, a whole worker, or the broker."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from tests.chaos import proc
from tests.chaos.keeper import Part
from tests.chaos.monkey import Hit, Strike
from tests.chaos.plan import Blow
from tests.chaos.proc import Process
from tests.chaos.rival import read_deeds
from tests.chaos.targets import HOLDER_WAIT_S, LONGEST_AWAY_S

BUSY_FOR_S = 0.1
"""A task that began so long ago has been acknowledged, where that is done early."""


class RivalTargets:
    """The blows, drawn by `draw` where there is a choice."""

    def __init__(self, broker: Part, workers: Sequence[Part], deeds: Path, draw: Random) -> None:
        self._broker, self._workers, self._deeds, self._draw = broker, workers, deeds, draw

    @property
    def hits(self) -> Mapping[Blow, Hit]:
        """Every blow that fits, by its name."""
        return {Blow.CHILD: self._child, Blow.PARENT: self._parent, Blow.BROKER: self._server}

    def _child(self) -> Strike | None:
        child = self._busy_child()
        died = proc.kill(child) if child else None
        return None if child is None or died is None else Strike(Blow.CHILD, died, child.pid, str(child.pid))

    def _parent(self) -> Strike | None:
        """The worker with its child, as when its container ends."""
        child = self._busy_child()
        part = next((part for part in self._workers if child in part.children()), None)
        parent = part.found() if part else None
        if child is None or parent is None or proc.kill(parent) is None:
            return None
        died = proc.kill(child) or time.time()
        return Strike(Blow.PARENT, died, parent.pid, str(child.pid))

    def _server(self) -> Strike | None:
        """Kill it, and keep it away for a while."""
        victim = self._broker.found()
        away_s = self._draw.uniform(0, LONGEST_AWAY_S)
        self._broker.held_until = time.monotonic() + away_s
        died = proc.kill(victim) if victim else None
        if victim is None or died is None:
            return None
        return Strike(Blow.BROKER, died, victim.pid, note=f"away for {away_s:.1f} s")

    def _busy_child(self) -> Process | None:
        """One in the middle of a task; None where there is none in time."""
        give_up_at = time.monotonic() + HOLDER_WAIT_S
        while time.monotonic() < give_up_at:
            busy = self._busy_pids()
            found = [child for part in self._workers for child in part.children() if child.pid in busy]
            if found:
                return self._draw.choice(found)
            time.sleep(0.02)
        return None

    def _busy_pids(self) -> set[int]:
        last = {row.actor: row for row in read_deeds(self._deeds)}
        before = time.time() - BUSY_FOR_S
        return {
            int(actor.removeprefix("worker:"))
            for actor, row in last.items()
            if row.action == "claimed" and row.at < before
        }
