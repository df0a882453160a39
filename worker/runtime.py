"""A started worker as its threads and tasks see it: what it works with, whose turn it is, and whether it is to end."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from shared.db import explanation_queries, queue_queries
from worker import heartbeat, pipeline, sweep
from worker.ending import Ending
from worker.engine.golden import GoldenState
from worker.explain import Desk, explain_next
from worker.serving import Serving
from worker.stages import BatchReport, Kitchen

TEND_EVERY_S = 1.0
"""While films are due; the sweeper's turn, 3 s, is what a dead worker's films may wait longer."""

TURN_WAIT_S = 30.0

END_WAIT_S = 25.0
"""For what is in hand, when the worker is to end. A supervisor kills it after 28 s, a container's engine after 30; the
leases give back what takes longer."""


@dataclass(slots=True)
class Runtime:
    """A started worker: its kitchen, the turn that task and poll loop share, and that of whoever explains.

    `stop` ends the poll loop, `woken` makes it look for films at once, `asked` the explaining one for explanations;
    `ended` is set when the last batch is done, and with it the other loops; `beating` is held by who writes the sign of
    life or takes it back. Without a `desk` it makes no explanations, and where `has_films` is not set it claims none.
    """

    kitchen: Kitchen
    turn: threading.Lock = field(default_factory=threading.Lock)
    explaining: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)
    woken: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    beating: threading.Lock = field(default_factory=threading.Lock)
    ending: Ending = field(default_factory=Ending)
    desk: Desk | None = None
    golden: GoldenState = GoldenState.ABSENT
    tended_at: float = 0.0
    has_films: bool = True

    def work(self) -> BatchReport:
        """Process some batches, unless the other thread is long at it. A drain of the poll loop has to follow."""
        if not self.has_films or not self.turn.acquire(timeout=TURN_WAIT_S):
            return BatchReport()
        try:
            return pipeline.process(self.kitchen)
        finally:
            self.turn.release()

    def note_idle(self, *, anew: bool = False) -> bool:
        """Note that rings are needed where none were; a look has to follow. `anew` notes it in any case.

        Returns:
            False where nothing was noted: they are needed already, or the other thread is at work, and notes it.
        """
        if not self.turn.acquire(blocking=False):
            return False
        try:
            if not anew and not self.kitchen.busy.is_set():
                return False
            pipeline.note_idle(self.kitchen)
            return True
        finally:
            self.turn.release()

    @property
    def is_to_end(self) -> bool:
        """True once Celery heard it, or whoever started the threads said so."""
        return self.stop.is_set() or self.ending.has_come

    def tend(self) -> None:
        """Beat, and sweep: a long queue must not hide what dead workers held. Not after every batch."""
        if time.monotonic() - self.tended_at >= TEND_EVERY_S:
            self.tended_at = time.monotonic()
            self.look_for_films()
            self.beat()
            sweep.sweep(self.kitchen.resources, self.kitchen.who.worker)

    def look_for_films(self) -> None:
        """Is their folder still there? Until it is, nothing is claimed, and this worker does not count as alive.

        Raises:
            StorageDown: it is not.
        """
        is_there = False  # it is noted once: a ring that comes meanwhile finds what was so before
        try:
            self.kitchen.resources.blobs.check()
            is_there = True
        finally:
            self.has_films = is_there

    def beat(self) -> None:
        """Write this worker's sign of life, until it has ended."""
        serving = Serving(self.kitchen.who.priorities, explains=self.desk is not None)
        with self.beating:
            if not self.ended.is_set():
                heartbeat.beat(self.kitchen, serving, self.golden)

    def retire(self) -> None:
        """Take it back once this worker has ended: a beat that was under way is not written after it."""
        with self.beating:
            heartbeat.retire(self.kitchen.resources.database, self.kitchen.who.worker)

    def explain(self) -> bool:
        """Make one explanation, beside the films; False where none is due, or a film is: that goes first."""
        if self.desk is None or not self.has_films:
            return False
        with self.explaining:
            return not self.is_to_end and is_map_next(self.kitchen) and explain_next(self.desk)

    def end(self) -> None:
        """No other batch or explanation is begun from now on; returns once those in hand are done, or it took long."""
        self.stop.set()
        self.woken.set()
        self.asked.set()
        give_up_at = time.monotonic() + END_WAIT_S
        for lock in (self.turn, self.explaining):
            lock.acquire(timeout=max(0.0, give_up_at - time.monotonic()))
        self.ended.set()


def is_map_next(kitchen: Kitchen) -> bool:
    """True where a map is due, and no film."""
    database, model_sha256 = kitchen.resources.database, kitchen.engine.manifest.weights_sha256
    with database.read_core() as sql:
        now = database.now(sql)
        is_due = explanation_queries.has_due(sql, now, model_sha256)
        return is_due and not queue_queries.has_due(sql, now, kitchen.who.priorities)
