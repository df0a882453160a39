"""The sweeper: requeues jobs with expired leases, expires overdue jobs, rings again for films whose ring was lost.

The poll loop of each worker calls it; a lock lets one worker at a time do the work. Idle passes only read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from shared import faults
from shared.db import deletions, explanation_queries, explanations, jobs, locks, queries, queue_queries, worker_queries
from shared.domain import EXPLAIN_QUEUE, ExplanationState, JobState, Priority, made_at
from shared.faults import Fault
from shared.log import get_logger
from shared.wiring import Resources
from worker.removal import remove_films

log = get_logger(__name__)

LOCK = "sweeper"
LOCK_S = 3.0
"""The lock of a sweeper that died expires after this."""

RINGS_A_PASS = 100
PURGE_LOCK = "purge"
PURGE_EVERY_S = 600.0
PURGE_BATCH = 500
"""Stored films asked about in one statement; SQLite takes 32,766 parameters, PostgreSQL 65,535."""

MOST_ORPHANS: Final = 1000
"""A web process that dies leaves the few films it was writing at that moment."""


def sweep(resources: Resources, worker: str) -> bool:
    """Make one pass; return False if there was nothing to do, or if another worker holds the lock.

    Raises:
        DatabaseDown: the next pass retries.
    """
    database, settings = resources.database, resources.settings
    with database.read() as session:
        now = database.now(session)
        films = queue_queries.needs_sweep(session, now, settings.ring_after_s)
        maps = explanation_queries.needs_sweep(session, now, settings.ring_after_s)
        if not (films or maps) or not locks.is_free(session, LOCK, worker, now):
            return False
        priorities = worker_queries.live_priorities(session, now)
    for job_id, priority in _change(resources, worker, priorities) if films else []:  # after the commit, best effort
        resources.queue.classify(job_id, priority)
    for explanation_id in _change_explanations(resources, worker) if maps else []:
        resources.queue.explain(explanation_id)
    return True


def _change(resources: Resources, worker: str, priorities: Sequence[Priority]) -> list[tuple[str, Priority]]:
    """Requeue and expire jobs; return the films to ring for.

    Args:
        priorities: those that a live worker serves; rings of others would pile up in the broker.
    """
    room = _room(resources.queue.backlog(priorities)) if priorities else 0
    with jobs.changing(resources.database) as changes:
        if not locks.take(changes.sql, LOCK, worker, timedelta(seconds=LOCK_S), changes.now):
            return []
        requeued, expired = changes.requeue_expired(), changes.expire_due()
        for job_id, state in requeued:
            log.warning("lease.expired", job_id=job_id, poisoned=state is JobState.FAILED)
        for job_id in expired:
            log.info("job.expired", job_id=job_id)
        faults.reach(Fault.LEASE_GIVEN_BACK)
        unrung = changes.mark_rung(resources.settings.ring_after_s, room, priorities) if room else []
    resources.notifier.publish([*(job_id for job_id, _ in requeued), *expired])
    return unrung


def _room(backlog: int | None) -> int:
    """Return how many rings may be sent until `RINGS_A_PASS` wait; 0 if the backlog is unknown, since workers poll."""
    return 0 if backlog is None else max(0, RINGS_A_PASS - backlog)


def _change_explanations(resources: Resources, worker: str) -> list[str]:
    """Requeue explanations with expired leases; return the explanations to ring for."""
    room = _room(resources.queue.backlog([EXPLAIN_QUEUE]))
    with explanations.changing(resources.database) as changes:
        if not locks.take(changes.sql, LOCK, worker, timedelta(seconds=LOCK_S), changes.now):
            return []
        for explanation_id, state in changes.requeue_expired():
            log.warning("lease.expired", explanation=explanation_id, poisoned=state is ExplanationState.FAILED)
        if not explanation_queries.count_live_explainers(changes.sql, changes.now):
            return []  # no worker would take the rings, and they would pile up in the broker
        return changes.mark_rung(resources.settings.ring_after_s, room) if room else []


def purge_orphans(resources: Resources, worker: str) -> int:
    """Remove stored films without a job row: their web process died after it stored them, before the commit.

    Films of deleted jobs are always removed. The others are kept if there are more than `MOST_ORPHANS`, or if they are
    older than the database: then the rows are missing, since a backup was restored or another database uses the same
    film folder.

    Returns:
        The number of films removed; 0 too if another worker holds the lock.

    Raises:
        StorageDown: the film folder is unavailable or belongs to another database, or a film cannot be removed.
    """
    database = resources.database
    resources.blobs.check()
    with database.begin_core() as sql:
        now = database.now(sql)
        if not locks.take(sql, PURGE_LOCK, worker, timedelta(seconds=PURGE_EVERY_S), now):
            return 0
        born = queries.get_database_created_at(sql)
    old = resources.blobs.older_than(now - timedelta(seconds=resources.settings.orphan_after_s))
    deleted: list[str] = []
    orphans: list[str] = []
    for refs in batched(old, PURGE_BATCH):
        of_deleted, others = _find_orphans(resources, refs, born)
        deleted += of_deleted
        orphans = [*orphans, *others][: MOST_ORPHANS + 1]
    if len(orphans) > MOST_ORPHANS:
        log.error("orphans.too_many", most=MOST_ORPHANS, advice="is this the database of these films?")
        orphans = []
    films = [*deleted, *orphans]
    remove_films(resources.blobs, films)
    if films:
        log.info("orphans.purged", n=len(films))
    return len(films)


def _find_orphans(resources: Resources, refs: Sequence[str], born: datetime) -> tuple[list[str], list[str]]:
    """Return the films of deleted jobs, and those without any job that are younger than the database (`born`)."""
    job_ids = {ref: ref.split("/")[1] for ref in refs}
    with resources.database.read() as session:
        known = queries.known_jobs(session, list(job_ids.values()))
        unknown = {ref: job_id for ref, job_id in job_ids.items() if job_id not in known}
        deleted = deletions.known_deleted(session, list(unknown.values())) if unknown else set()
    of_deleted = [ref for ref, job_id in unknown.items() if job_id in deleted]
    return of_deleted, [ref for ref, job_id in unknown.items() if job_id not in deleted and made_at(job_id) > born]


def batched(refs: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield `refs` in lists of `size`; the last may be shorter."""
    rest = iter(refs)
    while batch := list(islice(rest, size)):
        yield batch
