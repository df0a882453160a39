"""A started worker as its threads and tasks see it: the kitchen, the events that wake its threads, and its shutdown."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from shared.db import explanation_queries, queue_queries
from worker import heartbeat, pipeline, sweep
from worker.engine.golden import GoldenState
from worker.explain import Desk, explain_next
from worker.serving import Serving
from worker.shutdown import Shutdown
from worker.stages import BatchReport, Kitchen

SWEEP_EVERY_S = 1.0
"""While films are due; films of a dead worker may wait this long in addition to the lock of the sweeper, 3 s."""

BATCH_LOCK_WAIT_S = 30.0

END_WAIT_S = 25.0
"""For the batch and the explanation in hand at a shutdown. A supervisor kills the worker after 28 s, a container engine
after 30; the leases give back films that take longer."""


@dataclass(slots=True)
class Runtime:
    """A started worker.

    Attributes:
        serving: the queues it serves.
        desk: makes explanations; None if it makes none.
        golden: the result of its golden films.
        shutdown: how far its shutdown has come.
        batch_lock: held while batches are processed, by the Celery task or by the poll loop.
        explain_lock: held while an explanation is made.
        heartbeat_lock: held while the heartbeat is written or deleted.
        films_wanted: wakes the poll loop, which then checks for due films.
        explanations_wanted: wakes the loop that explains, which then checks for due explanations.
        has_film_folder: False while the film folder is unavailable: then no film and no explanation is claimed.
    """

    kitchen: Kitchen
    serving: Serving
    desk: Desk | None = None
    golden: GoldenState = GoldenState.ABSENT
    shutdown: Shutdown = field(default_factory=Shutdown)
    batch_lock: threading.Lock = field(default_factory=threading.Lock)
    explain_lock: threading.Lock = field(default_factory=threading.Lock)
    heartbeat_lock: threading.Lock = field(default_factory=threading.Lock)
    films_wanted: threading.Event = field(default_factory=threading.Event)
    explanations_wanted: threading.Event = field(default_factory=threading.Event)
    swept_at: float = 0.0
    has_film_folder: bool = True

    def work(self) -> BatchReport:
        """Process some batches, unless the other thread holds the batch lock for long; `loops.drain` must follow."""
        if not self.has_film_folder or not self.batch_lock.acquire(timeout=BATCH_LOCK_WAIT_S):
            return BatchReport()
        try:
            return pipeline.process(self.kitchen)
        finally:
            self.batch_lock.release()

    def announce_idle(self, *, force: bool = False) -> bool:
        """Announce that this worker is idle, if it had announced busy; the caller must then check for due films.

        Args:
            force: announce anyway, which renews the Redis entry.

        Returns:
            True if it was announced. False too while the other thread processes a batch: that thread announces it.
        """
        if not self.batch_lock.acquire(blocking=False):
            return False
        try:
            return self.kitchen.availability.announce_idle(force=force)
        finally:
            self.batch_lock.release()

    def beat_and_sweep(self) -> None:
        """Check the film folder, beat and sweep between batches, at most every `SWEEP_EVERY_S`.

        Films of dead workers come back this way however long the queue is.
        """
        if time.monotonic() - self.swept_at >= SWEEP_EVERY_S:
            self.swept_at = time.monotonic()
            self.check_film_folder()
            self.beat()
            sweep.sweep(self.kitchen.resources, self.kitchen.who.worker)

    def check_film_folder(self) -> None:
        """Set `has_film_folder`; while it is False nothing is claimed, and by the error its caller writes no heartbeat.

        Raises:
            StorageDown: the folder is unavailable.
        """
        is_available = False  # assigned once, below: a ring that arrives during the check uses the previous value
        try:
            self.kitchen.resources.blobs.check()
            is_available = True
        finally:
            self.has_film_folder = is_available

    def beat(self) -> None:
        """Write the heartbeat, unless the shutdown is finished."""
        with self.heartbeat_lock:
            if not self.shutdown.is_finished:
                heartbeat.beat(self.kitchen, self.serving, self.golden)

    def retire(self) -> None:
        """Delete the heartbeat, once the shutdown is finished; waits for a beat in progress, and none follows."""
        with self.heartbeat_lock:
            heartbeat.retire(self.kitchen.resources.database, self.kitchen.who.worker)

    def explain(self) -> bool:
        """Make one explanation; return False if none is due, or if a film is due, which goes first."""
        if self.desk is None or not self.has_film_folder:
            return False
        with self.explain_lock:
            return not self.shutdown.is_coming and is_map_next(self.kitchen) and explain_next(self.desk)

    def end(self) -> None:
        """Begin no other batch or explanation; return when those in hand are done, after `END_WAIT_S` at the latest."""
        self.shutdown.request()
        self.films_wanted.set()
        self.explanations_wanted.set()
        give_up_at = time.monotonic() + END_WAIT_S
        for lock in (self.batch_lock, self.explain_lock):
            lock.acquire(timeout=max(0.0, give_up_at - time.monotonic()))
        self.shutdown.finish()


def is_map_next(kitchen: Kitchen) -> bool:
    """Return whether an explanation is due and no film is."""
    database, model_sha256 = kitchen.resources.database, kitchen.engine.manifest.weights_sha256
    with database.read_core() as sql:
        now = database.now(sql)
        is_due = explanation_queries.has_due(sql, now, model_sha256)
        return is_due and not queue_queries.has_due(sql, now, kitchen.who.priorities)
