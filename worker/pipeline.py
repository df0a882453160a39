"""The use case "process": batch after batch through its stages, overlapping.

While the network computes on a batch, the next one is claimed and loaded and the one before is stored, so that a core
waits for neither disk nor database. Beside a film that may have killed a worker nothing else is in hand.
Called by the task and by the poll loop: a ring and a poll do the same thing. Whatever is lost in the middle is given
back by its lease.
"""

from __future__ import annotations

from concurrent.futures import Future, wait
from typing import Any, Final

from worker.stages import Batch, BatchReport, Kitchen, answer, finish, take

BATCHES: Final = 4
"""Most batches one after the other; then others have their turn: explanations, the sweeper, a worker's end."""


def process(kitchen: Kitchen, batches: int = BATCHES) -> BatchReport:
    """Take batches through to their results until nothing is due, at most so many.

    Announces the worker as busy if it holds more than one film; the caller must announce idle afterwards and check
    once more (`Availability`).

    Returns:
        A report on all of them; `claimed` 0 where nothing was due.

    Raises:
        Unavailable: the database went away; the leases give the films back.
    """
    taken: list[Batch] = []
    handed: list[Future[Any]] = []
    try:
        return _process(kitchen, batches, taken, handed)
    finally:
        wait(handed)
        for batch in taken:
            batch.hold.close()


def _process(kitchen: Kitchen, batches: int, taken: list[Batch], handed: list[Future[Any]]) -> BatchReport:
    """Fill `taken` and `handed` on the way."""

    def take_next() -> Batch | None:
        batch = take(kitchen)
        if batch is not None:
            taken.append(batch)
        return batch

    report, storing, batch = BatchReport(), None, take_next()
    if batch is not None and len(batch.loaded) > 1:
        kitchen.availability.announce_busy()
    while batch is not None:
        batches -= 1
        if batch.is_suspect and storing:  # what was answered is stored before a film is computed that may end us
            report, storing = report + storing.result(), None
        is_full = len(batch.loaded) == kitchen.who.limit  # what is not was all there was
        is_more = batches > 0 and is_full and not batch.is_suspect
        taking = kitchen.hands.submit(take_next) if is_more else None
        handed += [taking] if taking else []
        outcomes = answer(kitchen, batch)
        report += storing.result() if storing else BatchReport()
        storing = kitchen.hands.submit(finish, kitchen, batch, outcomes)
        handed.append(storing)
        batch = taking.result() if taking else None
    return report + (storing.result() if storing else BatchReport())
