"""The use case "process": batch after batch through its stages, overlapping.

While the network computes on a batch, the next one is claimed and loaded and the previous one is stored, so that no
core waits for the disk or the database. A film that may have killed a worker is computed with no other film in hand.
Called by the Celery task and by the poll loop, which do the same. The leases give back all films that are lost midway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final, ParamSpec, TypeVar

from worker.stages import Batch, BatchReport, Kitchen, Outcome, answer, finish, take

BATCHES: Final = 4
"""The most batches of one call; between calls the sweeper runs, and the worker can shut down."""

P = ParamSpec("P")
T = TypeVar("T")


def process(kitchen: Kitchen, batches: int = BATCHES) -> BatchReport:
    """Take at most `batches` batches through to their results, until no film is due.

    Announces the worker as busy if it holds more than one film; the caller must announce idle afterwards and check
    once more (`Availability`).

    Returns:
        A report on all of them; `claimed` is 0 if nothing was due.

    Raises:
        Unavailable: the database went away; the leases give the films back.
    """
    with closing(_Run(kitchen)) as run:
        batch = run.take()
        if batch is not None and len(batch.loaded) > 1:
            kitchen.availability.announce_busy()
        while batch is not None:
            batches -= 1
            if batch.is_suspect:  # this film may kill the process: store the previous answers first
                run.settle()
            following = run.prefetch(batch) if batches > 0 else None
            run.store(batch, answer(kitchen, batch))
            batch = following.result() if following else None
        return run.settle()


@dataclass(slots=True)
class _Run:
    """The batches of one call of `process`: at most one is being taken and one stored while another is computed."""

    kitchen: Kitchen
    report: BatchReport = field(default_factory=BatchReport)
    batches: list[Batch] = field(default_factory=list)
    futures: list[Future[Any]] = field(default_factory=list)  # Any: each stage returns its own type
    storing: Future[BatchReport] | None = None

    def take(self) -> Batch | None:
        """Claim and load the next batch; its leases are kept until it is stored, or until `close`."""
        batch = take(self.kitchen)
        if batch is not None:
            self.batches.append(batch)
        return batch

    def prefetch(self, batch: Batch) -> Future[Batch | None] | None:
        """Start to take the batch after `batch`; None if no more films are due, or if `batch` must be alone in hand."""
        is_full = len(batch.loaded) == self.kitchen.who.limit  # otherwise it held all films that were due
        return self._submit(self.take) if is_full and not batch.is_suspect else None

    def store(self, batch: Batch, outcomes: Sequence[Outcome]) -> None:
        """Start to store the outcomes of `batch`, once the previous batch is stored."""
        self.settle()
        self.storing = self._submit(finish, self.kitchen, batch, outcomes)

    def settle(self) -> BatchReport:
        """Wait until the batch handed to `store` is stored; return the report on all batches stored so far.

        Raises:
            Unavailable: the batch could not be stored.
        """
        if self.storing is not None:
            storing, self.storing = self.storing, None
            self.report += storing.result()
        return self.report

    def close(self) -> None:
        """Wait for the other threads, then let all leases go."""
        wait(self.futures)
        for batch in self.batches:
            batch.hold.close()

    def _submit(self, stage: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a stage in another thread."""
        future = self.kitchen.hands.submit(stage, *args, **kwargs)
        self.futures.append(future)
        return future
