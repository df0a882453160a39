"""The sweeper: gives back what dead workers held, ends films past their time, rings again for the unrung.

Any worker's poll loop calls it; one at a time does the work. Idle passes only read.
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

TURN = "sweeper"
TURN_S = 3.0
"""A sweeper that dies leaves its turn free after this."""

RINGS_A_PASS = 100
PURGE_TURN = "purge"
PURGE_EVERY_S = 600.0
PURGE_BATCH = 500
"""Stored films asked about in one statement; SQLite takes 32,766 parameters, PostgreSQL 65,535."""

MOST_ORPHANS: Final = 1000
"""A web process that dies leaves as many as it was writing at that moment, a few."""


def sweep(resources: Resources, worker: str) -> bool:
    """One pass; False where there was nothing to do or another worker has the turn.

    Raises:
        DatabaseDown: try again at the next pass.
    """
    database, settings = resources.database, resources.settings
    with database.read() as session:
        now = database.now(session)
        films = queue_queries.needs_sweep(session, now, settings.ring_after_s)
        maps = explanation_queries.needs_sweep(session, now, settings.ring_after_s)
        if not (films or maps) or not locks.is_free(session, TURN, worker, now):
            return False
        heard = worker_queries.live_classes(session, now)
    for job_id, priority in _change(resources, worker, heard) if films else []:  # after the commit, best effort
        resources.queue.classify(job_id, priority)
    for explanation_id in _change_explanations(resources, worker) if maps else []:
        resources.queue.explain(explanation_id)
    return True


def _change(resources: Resources, worker: str, heard: Sequence[Priority]) -> list[tuple[str, Priority]]:
    """Rings for so many that no more than `RINGS_A_PASS` wait, of classes that somebody takes from: others pile up."""
    room = _room(resources.queue.backlog(heard)) if heard else 0
    with jobs.changing(resources.database) as changes:
        if not locks.take(changes.sql, TURN, worker, timedelta(seconds=TURN_S), changes.now):
            return []
        requeued, expired = changes.requeue_expired(), changes.expire_due()
        for job_id, state in requeued:
            log.warning("lease.expired", job_id=job_id, poisoned=state is JobState.FAILED)
        for job_id in expired:
            log.info("job.expired", job_id=job_id)
        faults.reach(Fault.LEASE_GIVEN_BACK)
        unrung = changes.mark_rung(resources.settings.ring_after_s, room, heard) if room else []
    resources.notifier.publish([*(job_id for job_id, _ in requeued), *expired])
    return unrung


def _room(backlog: int | None) -> int:
    """How many rings may be sent; none where the broker does not say how many wait: polls go on."""
    return 0 if backlog is None else max(0, RINGS_A_PASS - backlog)


def _change_explanations(resources: Resources, worker: str) -> list[str]:
    room = _room(resources.queue.backlog([EXPLAIN_QUEUE]))
    with explanations.changing(resources.database) as changes:
        if not locks.take(changes.sql, TURN, worker, timedelta(seconds=TURN_S), changes.now):
            return []
        for explanation_id, state in changes.requeue_expired():
            log.warning("lease.expired", explanation=explanation_id, poisoned=state is ExplanationState.FAILED)
        if not explanation_queries.count_live_explainers(changes.sql, changes.now):
            return []  # nobody would take the rings, and they would pile up in the broker
        return changes.mark_rung(resources.settings.ring_after_s, room) if room else []


def purge_orphans(resources: Resources, worker: str) -> int:
    """Remove stored films that no job row names: their web process died between the two steps.

    Those of deleted jobs go in any case. Of the others none is removed where there are more than `MOST_ORPHANS`, and
    none that is older than the database: then it is the rows that are missing, by a backup that was restored or another
    database beside the same films.

    Returns:
        How many were removed; 0 too where another worker has the turn.

    Raises:
        StorageDown: the films' folder is not there, or is another database's, or one of them cannot be removed.
    """
    database = resources.database
    resources.blobs.check()
    with database.begin_core() as sql:
        now = database.now(sql)
        if not locks.take(sql, PURGE_TURN, worker, timedelta(seconds=PURGE_EVERY_S), now):
            return 0
        born = queries.get_database_created_at(sql)
    old = resources.blobs.older_than(now - timedelta(seconds=resources.settings.orphan_after_s))
    promised: list[str] = []
    orphans: list[str] = []
    for refs in batched(old, PURGE_BATCH):
        of_deleted, others = _find_orphans(resources, refs, born)
        promised += of_deleted
        orphans = [*orphans, *others][: MOST_ORPHANS + 1]
    if len(orphans) > MOST_ORPHANS:
        log.error("orphans.too_many", most=MOST_ORPHANS, advice="is this the database of these films?")
        orphans = []
    gone = [*promised, *orphans]
    remove_films(resources.blobs, gone)
    if gone:
        log.info("orphans.purged", n=len(gone))
    return len(gone)


def _find_orphans(resources: Resources, refs: Sequence[str], born: datetime) -> tuple[list[str], list[str]]:
    """Those of deleted jobs, and those that nobody knows of."""
    job_ids = {ref: ref.split("/")[1] for ref in refs}
    with resources.database.read() as session:
        known = queries.known_jobs(session, list(job_ids.values()))
        unknown = {ref: job_id for ref, job_id in job_ids.items() if job_id not in known}
        deleted = deletions.known_deleted(session, list(unknown.values())) if unknown else set()
    promised = [ref for ref, job_id in unknown.items() if job_id in deleted]
    return promised, [ref for ref, job_id in unknown.items() if job_id not in deleted and made_at(job_id) > born]


def batched(refs: Iterable[str], size: int) -> Iterator[list[str]]:
    """`refs` in lists of `size`, the last one shorter."""
    rest = iter(refs)
    while batch := list(islice(rest, size)):
        yield batch
