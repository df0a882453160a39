"""The threads of a worker, besides the one that runs Celery tasks: each is a loop that outlives errors in one pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from shared.db import queue_queries
from shared.db.audit_anchors import Anchor
from shared.log import get_logger, logging_faults
from worker import anchors, retention, sweep
from worker.runtime import Runtime
from worker.stages import Kitchen

log = get_logger(__name__)

BEAT_EVERY_S = 4.0

FIRST_PURGE_S: Final = 60.0
"""Early enough for workers that live only for minutes, late enough not to slow down a start."""

CHECKS: Final = 2
"""Checks in a row that may find films due but none to claim, because other workers have just claimed them."""

FINAL_CHECKS: Final = 1
"""The same, after this worker has announced idle: from then on films are rung for."""


def poll_loop(runtime: Runtime) -> None:
    """Process due films without a ring, beat and sweep, until the shutdown is requested."""
    last_beat = 0.0
    while not runtime.shutdown.is_requested:
        with logging_faults(log, "poll.failed"):
            runtime.check_film_folder()
            if time.monotonic() - last_beat >= BEAT_EVERY_S:
                runtime.beat()
                last_beat = time.monotonic()
            runtime.announce_idle(force=True)
            drain(runtime)
            sweep.sweep(runtime.kitchen.resources, runtime.kitchen.who.worker)
        rest(runtime)


def rest(runtime: Runtime) -> None:
    """Wait for the next poll; drain each time a task wakes this loop meanwhile."""
    poll_at = time.monotonic() + runtime.kitchen.resources.settings.poll_s
    while (left_s := poll_at - time.monotonic()) > 0 and runtime.films_wanted.wait(left_s):
        if runtime.shutdown.is_requested:
            return
        runtime.films_wanted.clear()
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
    while checks and not runtime.shutdown.is_requested and _has_due(runtime.kitchen):
        checks = CHECKS if runtime.work().claimed else checks - 1
        if not runtime.shutdown.is_requested:
            runtime.beat_and_sweep()


def _has_due(kitchen: Kitchen) -> bool:
    """Return whether a film of this worker's priorities is due."""
    database = kitchen.resources.database
    with database.read_core() as sql:
        return queue_queries.has_due(sql, database.now(sql), kitchen.who.priorities)


def explain_loop(runtime: Runtime) -> None:
    """Make the requested explanations in this thread, so that no film waits for one."""
    if runtime.desk is None:
        return
    while not runtime.shutdown.is_requested:
        with logging_faults(log, "explain.failed"):
            while runtime.explain():
                pass
        runtime.explanations_wanted.wait(runtime.kitchen.resources.settings.poll_s)
        runtime.explanations_wanted.clear()


def beat_loop(runtime: Runtime) -> None:
    """Beat while a batch is processed, which may take longer than a worker without a heartbeat counts as alive."""
    while not runtime.shutdown.finished.wait(BEAT_EVERY_S):
        with logging_faults(log, "beat.failed"):
            if runtime.batch_lock.locked() and not runtime.shutdown.is_requested:
                runtime.beat()


def lease_loop(runtime: Runtime) -> None:
    """Renew the leases of the films and explanations in hand."""
    runtime.kitchen.keeper.run(runtime.shutdown.finished)


def limit_loop(runtime: Runtime) -> None:
    """End the process past the run limit, even if the database does not answer."""
    runtime.kitchen.keeper.watch(runtime.shutdown.finished)


def purge_loop(runtime: Runtime) -> None:
    """Delete jobs past their retention, and orphaned films, periodically: it takes long, so it has a thread.

    It also logs the heads of the audit chain.
    """
    resources, worker = runtime.kitchen.resources, runtime.kitchen.who.worker
    pause_s = FIRST_PURGE_S
    heads: frozenset[Anchor] = frozenset()
    while not runtime.shutdown.finished.wait(pause_s):
        pause_s = sweep.PURGE_EVERY_S
        with logging_faults(log, "anchors.failed"):
            heads = anchors.log_anchors(resources, worker, heads)
        with logging_faults(log, "retention.failed"):
            retention.delete_old(resources, worker, runtime.shutdown.finished.wait)
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
