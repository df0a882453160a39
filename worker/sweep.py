"""The sweeper: gives back what dead workers held, ends films past their time, rings again for the unrung.

Any worker's poll loop calls it; one at a time does the work. Idle passes only read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from shared import faults
from shared.db import explanation_queries, explanations, jobs, locks, queries
from shared.domain import JobState, Priority
from shared.faults import Fault
from shared.log import get_logger
from shared.wire import ExplanationState
from shared.wiring import Resources

log = get_logger(__name__)

TURN = "sweeper"
TURN_S = 3.0
"""A sweeper that dies leaves its turn free after this."""

RINGS_A_PASS = 100
PURGE_BATCH = 500
"""Stored films asked about in one statement; SQLite takes 32,766 parameters, PostgreSQL 65,535."""


def sweep(resources: Resources, worker: str) -> bool:
    """One pass; False where there was nothing to do or another worker has the turn.

    Raises:
        DatabaseDown: try again at the next pass.
    """
    database, settings = resources.database, resources.settings
    with database.read() as session:
        now = database.now(session)
        films = queries.needs_sweep(session, now, settings.ring_after_s)
        maps = explanation_queries.needs_sweep(session, now, settings.ring_after_s)
        if not (films or maps) or not locks.is_free(session, TURN, worker, now):
            return False
    for job_id, priority in _change(resources, worker) if films else []:  # after the commit, best effort
        resources.queue.classify(job_id, priority)
    for explanation_id in _change_explanations(resources, worker) if maps else []:
        resources.queue.explain(explanation_id)
    return True


def _change(resources: Resources, worker: str) -> list[tuple[str, Priority]]:
    """Rings for so many that no more than `RINGS_A_PASS` wait; none where the broker does not say: polls go on."""
    backlog = resources.queue.backlog()
    backlog = RINGS_A_PASS if backlog is None else backlog
    with jobs.changing(resources.database) as changes:
        if not locks.take(changes.sql, TURN, worker, timedelta(seconds=TURN_S), changes.now):
            return []
        requeued, expired = changes.requeue_expired(), changes.expire_due()
        for job_id, state in requeued:
            log.warning("lease.expired", job_id=job_id, poisoned=state is JobState.FAILED)
        for job_id in expired:
            log.info("job.expired", job_id=job_id)
        faults.reach(Fault.LEASE_GIVEN_BACK)
        room = RINGS_A_PASS - backlog
        unrung = changes.mark_rung(resources.settings.ring_after_s, room) if room > 0 else []
    resources.notifier.publish([*(job_id for job_id, _ in requeued), *expired])
    return unrung


def _change_explanations(resources: Resources, worker: str) -> list[str]:
    with explanations.changing(resources.database) as changes:
        if not locks.take(changes.session, TURN, worker, timedelta(seconds=TURN_S), changes.now):
            return []
        for explanation_id, state in changes.requeue_expired():
            log.warning("lease.expired", explanation=explanation_id, poisoned=state is ExplanationState.FAILED)
        if not explanation_queries.count_live_explainers(changes.session, changes.now):
            return []  # nobody would take the rings, and they would pile up in the broker
        return changes.mark_rung(resources.settings.ring_after_s, RINGS_A_PASS)


def purge_orphans(resources: Resources) -> int:
    """Remove stored films that no job row names: their web process died between the two steps.

    Returns:
        How many were removed.
    """
    with resources.database.read() as session:
        before = resources.database.now(session) - timedelta(seconds=resources.settings.orphan_after_s)
    old = list(resources.blobs.older_than(before))
    purged = sum(_purge(resources, old[start : start + PURGE_BATCH]) for start in range(0, len(old), PURGE_BATCH))
    if purged:
        log.info("orphans.purged", n=purged)
    return purged


def _purge(resources: Resources, refs: Sequence[str]) -> int:
    job_ids = {ref: ref.split("/")[1] for ref in refs}
    with resources.database.read() as session:
        known = queries.known_jobs(session, list(job_ids.values()))
    orphans = [ref for ref, job_id in job_ids.items() if job_id not in known]
    for ref in orphans:
        resources.blobs.delete(ref)
    return len(orphans)
