"""A worker's threads, beside the one that Celery gives its tasks: each is a loop that outlives a fault in one turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from shared.db import queries
from shared.log import get_logger, logging_faults
from worker import retention, sweep
from worker.runtime import Runtime
from worker.stages import Kitchen

log = get_logger(__name__)

BEAT_EVERY_S = 4.0

FIRST_PURGE_S: Final = 60.0
"""Soon enough for workers that live for some minutes only, late enough for a start to be over."""

CHECKS: Final = 2
"""Checks in a row that may find films due but none to claim, because other workers have just claimed them."""

FINAL_CHECKS: Final = 1
"""The same, after this worker has announced idle: from then on films are rung for."""


def poll_loop(runtime: Runtime) -> None:
    """Look for due films without a ring, beat and sweep, until told to stop."""
    last_beat = 0.0
    while not runtime.stop.is_set():
        with logging_faults(log, "poll.failed"):
            runtime.look_for_films()
            if time.monotonic() - last_beat >= BEAT_EVERY_S:
                runtime.beat()
                last_beat = time.monotonic()
            runtime.announce_idle(force=True)
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
    """Process batches until no film is due, then announce this worker as idle and check once more.

    Films that arrived while this worker was busy were not rung for; see `Availability`.
    """
    try:
        _work_while_due(runtime, CHECKS)
        while runtime.announce_idle():
            _work_while_due(runtime, FINAL_CHECKS)
    finally:  # after a failure, which may repeat: wait for the next poll or ring
        runtime.announce_idle()


def _work_while_due(runtime: Runtime, checks: int) -> None:
    """Process batches until no film is due, or until so many checks found only films that other workers claimed first.

    Each batch that was claimed allows `CHECKS` more. Reads before it takes a write lock.
    """
    while checks and not runtime.stop.is_set() and _has_due(runtime.kitchen):
        checks = CHECKS if runtime.work().claimed else checks - 1
        if not runtime.stop.is_set():
            runtime.tend()


def _has_due(kitchen: Kitchen) -> bool:
    """Return whether a film of this worker's classes is due."""
    database = kitchen.resources.database
    with database.read_core() as sql:
        return queries.has_due(sql, database.now(sql), kitchen.who.priorities)


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
