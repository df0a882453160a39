"""The chaos checker finds nothing in a sound history, and each fault in a history that was doctored to hold it."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import replace
from typing import Any

import pytest

from shared.domain import Priority
from tests.chaos.checker import check
from tests.chaos.facts import AuditRow, Evidence, JobRow, Kind, ResultRow
from tests.chaos.history import Action, Event, Outcome
from tests.chaos.plan import Order

A, B = "job-a", "job-b"


def event(op: int, at: float, action: Action, outcome: Outcome, key: str, **told: Any) -> Event:
    """One line of a history."""
    return replace(Event(op, at, at, "client", action, outcome, key), **told)


def audit(seq: int, action: str, job: str, attempt: int | None = None) -> AuditRow:
    """One audit event, a second after the one before."""
    actor = "key:k" if action in {"accepted", "cancelled"} else "worker:vm:1"
    return AuditRow(seq, float(seq), actor, action, job, attempt)


def order(key: str, cancel_after_s: float | None = None) -> Order:
    """One film that a client was to send."""
    return Order(key, 1, Priority.ROUTINE, 0.0, "", cancel_after_s)


def sound() -> Evidence:
    """Film a succeeds at its second attempt after an unknown submission; film b is cancelled."""
    return Evidence(
        orders=[order("a"), order("b", cancel_after_s=0.5)],
        events=[
            event(1, 1.0, Action.SUBMIT, Outcome.INVOKE, "a"),
            event(1, 1.5, Action.SUBMIT, Outcome.UNKNOWN, "a", error="ReadError"),
            event(2, 2.0, Action.SUBMIT, Outcome.INVOKE, "a"),
            event(2, 2.5, Action.SUBMIT, Outcome.OK, "a", job=A, state="queued", attempt=0, http=202),
            event(3, 3.0, Action.READ, Outcome.INVOKE, "a", job=A),
            event(3, 3.5, Action.READ, Outcome.OK, "a", job=A, state="running", attempt=2, http=200),
            event(4, 4.0, Action.READ, Outcome.INVOKE, "a", job=A),
            event(4, 4.5, Action.READ, Outcome.OK, "a", job=A, state="succeeded", attempt=2, http=200),
            event(5, 5.0, Action.SUBMIT, Outcome.INVOKE, "b"),
            event(5, 5.5, Action.SUBMIT, Outcome.OK, "b", job=B, state="queued", attempt=0, http=202),
            event(6, 6.0, Action.CANCEL, Outcome.INVOKE, "b", job=B),
            event(6, 6.5, Action.CANCEL, Outcome.OK, "b", job=B, state="cancelled", attempt=0, http=200),
            event(7, 7.0, Action.CANCEL, Outcome.INVOKE, "a", job=A),
            event(7, 7.5, Action.CANCEL, Outcome.FAIL, "a", job=A, http=409),
            event(8, 8.0, Action.READ, Outcome.INVOKE, "b", job=B),
            event(8, 8.5, Action.READ, Outcome.OK, "b", job=B, state="cancelled", attempt=0, http=200),
        ],
        jobs=[JobRow(A, "a", "succeeded", 2), JobRow(B, "b", "cancelled", 0)],
        results=[ResultRow(A, 2)],
        audit=[
            audit(1, "accepted", A),
            audit(2, "claimed", A, 1),
            audit(3, "requeued", A, 1),
            audit(4, "claimed", A, 2),
            audit(5, "succeeded", A, 2),
            audit(6, "accepted", B),
            audit(7, "cancelled", B),
        ],
    )


def with_events(*added: Event) -> Evidence:
    """The sound history, and more in it."""
    return replace(sound(), events=[*sound().events, *added])


def with_job(index: int, **changed: Any) -> Evidence:
    """The sound history, one row changed."""
    jobs = list(sound().jobs)
    jobs[index] = replace(jobs[index], **changed)
    return replace(sound(), jobs=jobs)


def with_audit(*added: AuditRow, left_out: int | Container[int] = ()) -> Evidence:
    """The sound history, its trail longer by `added` and without the event, or the events, `left_out`."""
    gone = {left_out} if isinstance(left_out, int) else left_out
    return replace(sound(), audit=[*(row for row in sound().audit if row.seq not in gone), *added])


def with_claims(first: int, last: int) -> Evidence:
    """The sound history, its first film claimed as these attempts."""
    claims = (audit(2, "claimed", A, first), audit(3, "requeued", A, first), audit(4, "claimed", A, last))
    return with_audit(*claims, left_out={2, 3, 4})


def stored() -> Evidence:
    """The sound history, its first film answered from the store at its submission, without a claim."""
    answered = AuditRow(5, 5.0, "system", "succeeded", A, 0)
    found = with_audit(answered, left_out={2, 3, 4, 5})
    events = [replace(told, attempt=0 if told.job == A else told.attempt) for told in found.events]
    return replace(found, events=events, jobs=[replace(found.jobs[0], attempt=0), found.jobs[1]],
                   results=[ResultRow(A, 0)])  # fmt: skip


def poisoned(*, by: str = "sweeper", code: str = "poisoned", attempts: int = 3) -> Evidence:
    """The sound history, and film c that ended as failed after so many attempts."""
    trail = [AuditRow(10, 10.0, "key:k", "accepted", "job-c")]
    for attempt in range(1, attempts + 1):
        at, end = 10 + 2 * attempt, "failed" if attempt == attempts else "requeued"
        trail += [AuditRow(at, float(at), "worker:vm:1", "claimed", "job-c", attempt),
                  AuditRow(at + 1, at + 1.0, by, end, "job-c", attempt)]  # fmt: skip
    told = {"job": "job-c", "state": "queued", "attempt": 0, "http": 202}
    found = with_events(
        event(9, 9.0, Action.SUBMIT, Outcome.INVOKE, "c"),
        event(9, 9.5, Action.SUBMIT, Outcome.OK, "c", **told),
        event(10, 9.6, Action.READ, Outcome.INVOKE, "c", job="job-c"),
        event(10, 30.0, Action.READ, Outcome.OK, "c", **{**told, "state": "failed", "attempt": attempts, "http": 200}),
    )
    row = JobRow("job-c", "c", "failed", attempts, error_code=code)
    orders = [order("c", cancel_after_s=9.0), *found.orders]
    return replace(found, orders=orders, jobs=[*found.jobs, row], audit=[*found.audit, *trail])


def unanswered() -> Evidence:
    """The sound history, and nine more films that were to be answered, of which eight are not."""
    more = [order(f"k{number}") for number in range(9)]
    return replace(
        sound(), orders=[*sound().orders, *more], jobs=[*sound().jobs, JobRow("job-k", "k0", "succeeded", 1)]
    )


def late_read(job: str, key: str, state: str, attempt: int) -> Evidence:
    """The sound history, read once more in the end."""
    asked = event(9, 9.0, Action.READ, Outcome.INVOKE, key, job=job)
    told = event(9, 9.5, Action.READ, Outcome.OK, key, job=job, state=state, attempt=attempt, http=200)
    return with_events(asked, told)


def test_a_sound_history_has_no_fault() -> None:
    """Retries, a second attempt, a cancelled job and a late cancel are no faults."""
    assert check(sound()) == []


def test_an_overlapping_read_may_be_older() -> None:
    """A read that was asked before another ended may tell the older state."""
    asked = event(9, 4.2, Action.READ, Outcome.INVOKE, "a", job=A)
    told = event(9, 4.8, Action.READ, Outcome.OK, "a", job=A, state="running", attempt=2, http=200)
    assert check(with_events(asked, told)) == []


def test_a_stored_answer_needs_no_claim() -> None:
    """The same film again begins as succeeded."""
    assert check(stored()) == []


def test_other_events_are_none_of_a_jobs_steps() -> None:
    """A map that is asked for after the end, and keys that are made."""
    asked = AuditRow(8, 8.0, "key:k", "explanation_requested", A)
    claimed = AuditRow(9, 9.0, "worker:vm:2", "explanation_claimed", A, 1)
    assert check(with_audit(AuditRow(0, 0.0, "system", "key_made", "k"), asked, claimed)) == []


def test_a_film_may_be_used_up_by_kills() -> None:
    """Three workers went silent with it in hand: poisoned is a fair end."""
    assert check(poisoned()) == []


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda: poisoned(code="inference_failed"), "a good film that failed with inference_failed"),
        (lambda: poisoned(by="worker:vm:1"), "poisoned after 0 of 3 attempts"),
        (lambda: poisoned(attempts=2), "poisoned after 2 of 3 attempts"),
        (lambda: with_job(0, state="expired"), "expired, though"),
        (lambda: with_job(0, state="cancelled"), "cancelled, though"),
        (unanswered, "2 of 10 films succeeded, 9 at least"),
        (lambda: Evidence([], [], [], [], []), "no film was planned"),
    ],
)
def test_an_end_that_no_good_film_may_have_is_found_out(made: Callable[[], Evidence], why: str) -> None:
    """A service that fails, expires or cancels what it is sent keeps no promise."""
    assert [fault for fault in check(made()) if fault.why.startswith(why)]


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda: replace(sound(), orders=[*sound().orders, order("c")]), "never sent"),
        (lambda: replace(sound(), raised=["client0: ValidationError()"]), "client0: ValidationError()"),
        (lambda: replace(sound(), events=[e for e in sound().events if e.op != 4]), "its end was never read"),
    ],
)
def test_a_client_that_did_not_do_its_work_is_found_out(made: Callable[[], Evidence], why: str) -> None:
    """An order that was never sent, a client that died, an end that nobody read: a trial of nothing proves nothing."""
    assert why in [fault.why for fault in check(made())]


def test_an_unknown_submission_that_went_in_must_end_too() -> None:
    """A row without a 202 is a film as well."""
    unknown = event(9, 9.0, Action.SUBMIT, Outcome.UNKNOWN, "c", http=503)
    more = with_events(unknown)
    row = JobRow("job-c", "c", "running", 1)
    trail = [audit(8, "accepted", "job-c"), audit(9, "claimed", "job-c", 1)]
    found = check(replace(more, jobs=[*more.jobs, row], audit=[*more.audit, *trail]))
    assert {(fault.kind, fault.subject) for fault in found} == {(Kind.LOST, "job-c"), (Kind.OTHER, "c")}


DOCTORED: dict[str, tuple[Callable[[], Evidence], Kind]] = {
    "an accepted film is not in the table": (lambda: replace(sound(), jobs=list(sound().jobs)[:1]), Kind.LOST),
    "a film is still queued": (lambda: with_job(1, state="queued"), Kind.LOST),
    "a film is still running": (lambda: with_job(0, state="running"), Kind.LOST),
    "succeeded without a result": (lambda: replace(sound(), results=[]), Kind.LOST),
    "a known job is answered 404": (
        lambda: with_events(event(9, 9.0, Action.READ, Outcome.FAIL, "a", job=A, http=404)),
        Kind.LOST,
    ),
    "no event 'accepted'": (lambda: with_audit(left_out=6), Kind.LOST),
    "two results": (lambda: replace(sound(), results=[ResultRow(A, 2), ResultRow(A, 2)]), Kind.DOUBLED),
    "a cancelled job has a result": (
        lambda: replace(sound(), results=[ResultRow(A, 2), ResultRow(B, 0)]),
        Kind.DOUBLED,
    ),
    "a result without a job": (lambda: replace(sound(), results=[ResultRow(A, 2), ResultRow("x", 1)]), Kind.DOUBLED),
    "one key, two jobs in the table": (lambda: with_job(1, key="a"), Kind.DOUBLED),
    "one key, two jobs answered": (
        lambda: with_events(
            event(9, 9.0, Action.SUBMIT, Outcome.OK, "a", job=B, state="cancelled", attempt=0, http=202)
        ),
        Kind.DOUBLED,
    ),
    "two events 'accepted'": (lambda: with_audit(AuditRow(0, 0.5, "key:k", "accepted", A)), Kind.DOUBLED),
    "a result of an older attempt": (lambda: replace(sound(), results=[ResultRow(A, 1)]), Kind.STALE),
    "ended twice": (lambda: with_audit(audit(8, "succeeded", A, 2)), Kind.STALE),
    "claimed after its end": (lambda: with_audit(audit(8, "claimed", A, 3)), Kind.STALE),
    "ended by an attempt that had lost it": (
        lambda: with_audit(audit(5, "succeeded", A, 1), left_out=5),
        Kind.STALE,
    ),
    "an end that no event tells": (lambda: with_audit(left_out=5), Kind.LOST),
    "a result that nobody claimed": (lambda: with_audit(left_out={2, 3, 4}), Kind.STALE),
    "a stored answer written by a worker": (
        lambda: replace(stored(), audit=with_audit(audit(5, "succeeded", A, 0), left_out={2, 3, 4, 5}).audit),
        Kind.STALE,
    ),
    "an attempt claimed twice": (lambda: with_claims(2, 2), Kind.STALE),
    "claimed again, though nobody gave it back": (lambda: with_audit(left_out=3), Kind.STALE),
    "attempts that fall": (lambda: with_claims(3, 2), Kind.STALE),
    "given back by another attempt": (lambda: with_audit(audit(3, "requeued", A, 2), left_out=3), Kind.STALE),
    "ended by a worker that never had it": (
        lambda: with_audit(AuditRow(5, 5.0, "worker:vm:2", "succeeded", A, 2), left_out=5),
        Kind.STALE,
    ),
    "answered by the sweeper": (
        lambda: with_audit(AuditRow(5, 5.0, "sweeper", "succeeded", A, 2), left_out=5),
        Kind.STALE,
    ),
    "cancelled by a worker": (
        lambda: with_audit(AuditRow(7, 7.0, "worker:vm:1", "cancelled", B), left_out=7),
        Kind.STALE,
    ),
    "accepted in the trail, and no row": (lambda: with_audit(audit(8, "accepted", "x")), Kind.LOST),
    "the row says another end": (lambda: with_job(1, state="expired"), Kind.STALE),
    "an end that did not stay": (lambda: late_read(A, "a", "running", 2), Kind.STALE),
    "an attempt that fell": (lambda: late_read(A, "a", "succeeded", 1), Kind.STALE),
    "a chain that breaks": (lambda: replace(sound(), chain_break="event 3 is missing"), Kind.CHAIN),
    "another film's answer": (lambda: replace(sound(), results=[ResultRow(A, 2, is_own=False)]), Kind.OTHER),
    "a job that nobody sent": (lambda: with_job(1, key="x"), Kind.OTHER),
    "a good film refused": (
        lambda: with_events(event(9, 9.0, Action.SUBMIT, Outcome.FAIL, "a", http=422)),
        Kind.OTHER,
    ),
    "a key never accepted": (
        lambda: with_events(event(9, 9.0, Action.SUBMIT, Outcome.INVOKE, "c")),
        Kind.OTHER,
    ),
}


@pytest.mark.parametrize("name", DOCTORED)
def test_a_doctored_history_is_found_out(name: str) -> None:
    """Each doctored history has a fault of its kind, though the sound one has none."""
    doctor, kind = DOCTORED[name]
    assert kind in {fault.kind for fault in check(doctor())}
