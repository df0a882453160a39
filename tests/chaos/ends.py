"""Did films end as they should? Pure. All are good: each is answered unless its client cancels it or kills use it up.

A film may end as poisoned only where as many workers as it has attempts went silent with it in hand. No client sets a
time after which its film is of no use, so none may expire.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.db.leases import POISONED
from shared.domain import JobState
from tests.chaos.facts import AuditRow, Evidence, Fault, JobRow, Kind, trails_of
from tests.chaos.history import Action, Event, Outcome
from tests.chaos.plan import Order, least_succeeded

TRIAL = "trial"
"""The subject of a fault that is no one film's."""


def check_ends(evidence: Evidence) -> Iterator[Fault]:
    """Every end that a good film may not have, and too few answers in all."""
    trails = trails_of(evidence.audit)
    cancelled = asked_to_cancel(evidence.events)
    for job in evidence.jobs:
        why = _blame(job, trails.get(job.id, []), is_cancelled=job.id in cancelled)
        if why:
            yield Fault(Kind.OTHER, job.id, why)
    yield from _check_share(evidence.orders, evidence.jobs)


def asked_to_cancel(events: Sequence[Event]) -> set[str | None]:
    """The jobs that a client asked to cancel, and was not refused."""
    cancels = [event for event in events if event.action is Action.CANCEL]
    refused = {event.op for event in cancels if event.outcome is Outcome.FAIL}
    return {event.job for event in cancels if event.op not in refused}


def _blame(job: JobRow, trail: Sequence[AuditRow], *, is_cancelled: bool) -> str | None:
    """What is wrong with a job's end, if anything."""
    if job.state == JobState.EXPIRED:
        return "expired, though nobody set it a time"
    if job.state == JobState.CANCELLED and not is_cancelled:
        return "cancelled, though no client asked for it"
    if job.state == JobState.FAILED and job.error_code != POISONED:
        return f"a good film that failed with {job.error_code}"
    if job.state == JobState.FAILED and _silences(trail) < job.max_attempts:
        return f"poisoned after {_silences(trail)} of {job.max_attempts} attempts that ended with their worker"
    return None


def _silences(trail: Sequence[AuditRow]) -> int:
    """How many attempts ended because their worker was not heard of: the sweeper took the film from it."""
    return sum(row.actor == "sweeper" and row.action in {"requeued", "failed"} for row in trail)


def _check_share(orders: Sequence[Order], jobs: Sequence[JobRow]) -> Iterator[Fault]:
    """Of the films that no client cancels."""
    kept = {order.key for order in orders if order.cancel_after_s is None}
    found = sum(job.state == JobState.SUCCEEDED and job.key in kept for job in jobs)
    least = least_succeeded(orders)
    if not orders:
        yield Fault(Kind.OTHER, TRIAL, "no film was planned")
    if found < least:
        yield Fault(Kind.OTHER, TRIAL, f"{found} of {len(kept)} films succeeded, {least} at least should")
