"""Does the audit trail tell what became of each job? Pure; the rules are those of `shared/db/jobs.py`.

A trail is one walk through the job's states, from 'accepted' to one end. Attempts are claimed one by one, each after
the last was given back. What is told of an attempt is told by the worker that has it, or by the sweeper. A film whose
answer is stored begins as succeeded, without a claim. Events of explanations and keys are none of a job's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from shared.domain import STATE_AFTER, TRANSITIONS, JobState
from tests.chaos.facts import TERMINAL, AuditRow, Fault, JobRow, Kind, trails_of

SWEEPER, CLIENT, STORE = "sweeper", "key:", "system"
SILENCED = frozenset({"requeued", "failed"})
"""What the sweeper too may write of an attempt, once its worker is silent."""


def check_trails(jobs: Sequence[JobRow], audit: Sequence[AuditRow]) -> Iterator[Fault]:
    """Each job by each rule; and each film that the trail says was accepted is there."""
    trails = {subject: _of_job(trail) for subject, trail in trails_of(audit).items()}
    for job in jobs:
        yield from _check_trail(job, trails.get(job.id, []))
    for subject in sorted({subject for subject, trail in trails.items() if trail} - {job.id for job in jobs}):
        yield Fault(Kind.LOST, subject, "in the audit trail, and not in the database")


def _of_job(trail: Sequence[AuditRow]) -> list[AuditRow]:
    return [row for row in trail if row.action in STATE_AFTER]


def _check_trail(job: JobRow, trail: Sequence[AuditRow]) -> Iterator[Fault]:
    accepted = sum(row.action == "accepted" for row in trail)
    if accepted != 1:
        yield Fault(Kind.LOST if accepted == 0 else Kind.DOUBLED, job.id, f"{accepted} events 'accepted'")
    yield from _check_end(job, trail)
    yield from _check_steps(job, trail)
    yield from _check_claims(job, trail)
    yield from _check_tellers(job, trail)


def _check_end(job: JobRow, trail: Sequence[AuditRow]) -> Iterator[Fault]:
    """One event of the row's end, and no other."""
    ends = [row.action for row in trail if row.action in TERMINAL]
    if len(ends) > 1:
        yield Fault(Kind.STALE, job.id, "ended more than once: " + ", ".join(ends))
    if not ends and job.state in TERMINAL:
        yield Fault(Kind.LOST, job.id, f"{job.state}, and no event says so")
    if ends and ends[-1] != job.state:
        yield Fault(Kind.STALE, job.id, f"the trail ends with {ends[-1]}, the row says {job.state}")


def _check_steps(job: JobRow, trail: Sequence[AuditRow]) -> Iterator[Fault]:
    """From each state only where the state machine leads."""
    if trail and trail[0].action != "accepted":
        yield Fault(Kind.STALE, job.id, f"the trail begins with '{trail[0].action}'")
    for earlier, later in pairwise(trail):
        is_legal = STATE_AFTER[later.action] in TRANSITIONS[STATE_AFTER[earlier.action]]
        if not is_legal and not _is_stored_answer(earlier, later):
            yield Fault(Kind.STALE, job.id, f"'{later.action}' right after '{earlier.action}'")


def _is_stored_answer(earlier: AuditRow, later: AuditRow) -> bool:
    """The same film again, answered from the store at its submission."""
    return (earlier.action, later.action, later.actor, later.attempt) == ("accepted", "succeeded", STORE, 0)


def _check_claims(job: JobRow, trail: Sequence[AuditRow]) -> Iterator[Fault]:
    """Attempts are claimed as 1, 2, 3, ... up to the row's; whatever else names one names the last that was claimed."""
    claimed = [row.attempt for row in trail if row.action == "claimed"]
    if claimed != list(range(1, job.attempt + 1)):
        yield Fault(Kind.STALE, job.id, f"claimed as attempts {claimed}, the row is at {job.attempt}")
    held: int | None = 0
    for row in trail:
        held = row.attempt if row.action == "claimed" else held
        if row.attempt is not None and row.attempt != held:
            yield Fault(Kind.STALE, job.id, f"'{row.action}' of attempt {row.attempt}, while attempt {held} had it")


def _check_tellers(job: JobRow, trail: Sequence[AuditRow]) -> Iterator[Fault]:
    """Each event is written by whoever may."""
    holder = STORE
    for row in trail:
        holder = row.actor if row.action == "claimed" else holder
        if not _may_tell(row, holder):
            yield Fault(Kind.STALE, job.id, f"'{row.action}' written by {row.actor}, while {holder} had it")


def _may_tell(row: AuditRow, holder: str) -> bool:
    if row.action in {"accepted", "cancelled"}:
        return row.actor.startswith(CLIENT)
    if row.action == JobState.EXPIRED:
        return row.actor == SWEEPER
    return row.actor == holder or (row.actor == SWEEPER and row.action in SILENCED)
