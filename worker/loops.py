"""A worker's threads, beside the one that Celery gives its tasks: each is a loop that outlives a fault in one turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from shared.db import queue_queries
from shared.log import get_logger, logging_faults
from worker import retention, sweep
from worker.runtime import Runtime
from worker.stages import Kitchen

log = get_logger(__name__)

BEAT_EVERY_S = 4.0

FIRST_PURGE_S: Final = 60.0
"""Soon enough for workers that live for some minutes only, late enough for a start to be over."""

LOOKS: Final = 2
"""Looks in a row that may find films due and none to claim: other workers have just taken them."""


def poll_loop(runtime: Runtime) -> None:
    """Look for due films without a ring, beat and sweep, until told to stop."""
    last_beat = 0.0
    while not runtime.stop.is_set():
        with logging_faults(log, "poll.failed"):
            runtime.look_for_films()
            if time.monotonic() - last_beat >= BEAT_EVERY_S:
                runtime.beat()
                last_beat = time.monotonic()
            runtime.note_idle(anew=True)
            drain(runtime)
            sweep.sweep(runtime.kitchen.resources, runtime.kitchen.who.worker)
        rest(runtime)


def rest(runtime: Runtime) -> None:
    """Wait for the next poll; woken by a task, look for films meanwhile."""
    poll_at = time.monotonic() + runtime.kitchen.resources.settings.poll_s
    while (left_s := poll_at - time.monotonic()) > 0 and runtime.woken.wait(left_s) and not runtime.stop.is_set():
        runtime.woken.clear()
        with logging_faults(log, "poll.failed"):
            drain(runtime)


def drain(runtime: Runtime) -> None:
    """Process batches while films are due; reads before it takes a write lock.

    A look that found nothing to claim is taken once more: a film that came in between may not have been rung for. So
    is the last one, where rings were not needed until then.
    """
    looks = LOOKS
    try:
        while not runtime.stop.is_set():
            if looks and _has_due(runtime.kitchen):
                looks = LOOKS if runtime.work().claimed else looks - 1
                if not runtime.stop.is_set():
                    runtime.tend()
            elif runtime.note_idle():
                looks = 1
            else:
                return
    finally:  # what failed may fail again: the next look is at the next poll, or at a ring
        runtime.note_idle()


def _has_due(kitchen: Kitchen) -> bool:
    database = kitchen.resources.database
    with database.read_core() as sql:
        return queue_queries.has_due(sql, database.now(sql), kitchen.who.priorities)


def explain_loop(runtime: Runtime) -> None:
    """Make the explanations that are asked for, beside the films: none of those waits for one."""
    if runtime.desk is None:
        return
    while not runtime.stop.is_set():
        with logging_faults(log, "explain.failed"):
            while runtime.explain():
                pass
        runtime.asked.wait(runtime.kitchen.resources.settings.poll_s)
        runtime.asked.clear()


def beat_loop(runtime: Runtime) -> None:
    """Beat while a batch is in hand: it may take longer than a silent worker counts as alive."""
    while not runtime.ended.wait(BEAT_EVERY_S):
        with logging_faults(log, "beat.failed"):
            if runtime.turn.locked() and not runtime.stop.is_set():
                runtime.beat()


def lease_loop(runtime: Runtime) -> None:
    """Renew the leases of what is in hand."""
    runtime.kitchen.keeper.run(runtime.ended)


def limit_loop(runtime: Runtime) -> None:
    """End the process past the run limit, whatever the database does."""
    runtime.kitchen.keeper.watch(runtime.ended)


def purge_loop(runtime: Runtime) -> None:
    """Delete what was kept for its time, and orphans, now and then: it takes long, and nobody waits for it."""
    resources, worker = runtime.kitchen.resources, runtime.kitchen.who.worker
    pause_s = FIRST_PURGE_S
    while not runtime.ended.wait(pause_s):
        pause_s = sweep.PURGE_EVERY_S
        with logging_faults(log, "retention.failed"):
            retention.delete_old(resources, worker, runtime.ended.wait)
        with logging_faults(log, "purge.failed"):
            sweep.purge_orphans(resources, worker)


LOOPS: Final[Mapping[str, Callable[[Runtime], None]]] = MappingProxyType(
    {
        "poll": poll_loop,
        "explain": explain_loop,
        "lease": lease_loop,
        "limit": limit_loop,
        "beat": beat_loop,
        "purge": purge_loop,
    }
)
