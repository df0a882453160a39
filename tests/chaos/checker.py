"""Did the promise hold? Pure functions over what clients were told, what the database says and its audit trail.

Each fault names its film and why. `lost`, `doubled`, `stale` and `chain` are the promise; `other` is a broken client
contract besides: a good film that is refused or fails, an answer that is another film's, a key that was never accepted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from shared.domain import JobState
from tests.chaos.ends import check_ends
from tests.chaos.facts import TERMINAL, Evidence, Fault, JobRow, Kind, ResultRow
from tests.chaos.history import Action, Event, Outcome
from tests.chaos.trails import check_trails

NOT_FOUND = 404


def check(evidence: Evidence) -> list[Fault]:
    """Every fault there is, each film by each rule."""
    return [
        *check_accepted(evidence.events, evidence.jobs),
        *check_keys(evidence.events, evidence.jobs),
        *check_results(evidence.jobs, evidence.results),
        *check_trails(evidence.jobs, evidence.audit),
        *check_ends(evidence),
        *check_reads(evidence.events, evidence.jobs),
        *check_clients(evidence),
        *check_ends_read(evidence.events),
        *([Fault(Kind.CHAIN, "audit", evidence.chain_break)] if evidence.chain_break else []),
    ]


def check_accepted(events: Sequence[Event], jobs: Sequence[JobRow]) -> Iterator[Fault]:
    """Every film that was accepted is there and has ended; so has any other that is there."""
    rows = {job.id: job for job in jobs}
    for job in sorted({event.job for event in accepted(events) if event.job} - set(rows)):
        yield Fault(Kind.LOST, job, "accepted, and not in the database")
    for row in jobs:
        if row.state not in TERMINAL:
            yield Fault(Kind.LOST, row.id, f"still {row.state}")


def check_keys(events: Sequence[Event], jobs: Sequence[JobRow]) -> Iterator[Fault]:
    """One key, one job: in what clients were told, and in the table; and no job of a key that nobody sent."""
    told: dict[str, set[str | None]] = defaultdict(set)
    for event in accepted(events):
        told[event.key].add(event.job)
    for key, ids in told.items():
        if len(ids) > 1:
            yield Fault(Kind.DOUBLED, key, f"answered with {len(ids)} jobs")
    sent = {event.key for event in events}
    for key, count in Counter(str(job.key) for job in jobs).items():
        if count > 1:
            yield Fault(Kind.DOUBLED, key, f"{count} jobs in the table")
        if key not in sent:
            yield Fault(Kind.OTHER, key, "a job of a key that nobody sent")


def check_results(jobs: Sequence[JobRow], results: Sequence[ResultRow]) -> Iterator[Fault]:
    """A job that succeeded has one result, of its own last attempt and film; any other has none."""
    found: dict[str, list[ResultRow]] = defaultdict(list)
    for result in results:
        found[result.job].append(result)
    for job in jobs:
        yield from _check_result(job, found.pop(job.id, []))
    for stray in found:
        yield Fault(Kind.DOUBLED, stray, "a result without a job")


def check_reads(events: Sequence[Event], jobs: Sequence[JobRow]) -> Iterator[Fault]:
    """What was read never goes back: an end stays, attempts never fall, and what was there is not gone.

    Two answers are compared only where one was there before the other was asked for.
    """
    seen: dict[str, list[tuple[float, Event]]] = defaultdict(list)
    asked = {event.op: event.at for event in events if event.outcome is Outcome.INVOKE}
    for event in events:
        if event.outcome is Outcome.OK and event.job:
            seen[event.job].append((asked.get(event.op, event.at), event))
        elif event.http == NOT_FOUND and event.job:
            yield Fault(Kind.LOST, event.job, "answered 404")
    ends = {job.id: job for job in jobs}
    for job, reads in seen.items():
        yield from _check_order(job, sorted(reads, key=lambda read: read[0]), ends.get(job))


def check_clients(evidence: Evidence) -> Iterator[Fault]:
    """Every film was sent and accepted in the end, none refused, since all are good; no client ended early."""
    sent = {event.key for event in evidence.events if event.action is Action.SUBMIT}
    done = {event.key for event in accepted(evidence.events)}
    for key in sorted({order.key for order in evidence.orders} - sent):
        yield Fault(Kind.OTHER, key, "never sent")
    for key in sorted(sent - done):
        yield Fault(Kind.OTHER, key, "never accepted")
    for line in evidence.raised:
        yield Fault(Kind.OTHER, "client", line)
    for event in evidence.events:
        is_refused = event.outcome is Outcome.FAIL and event.http not in {NOT_FOUND, 409, 429}
        if is_refused:
            yield Fault(Kind.OTHER, event.key, f"{event.action.value} refused with {event.http}")


def check_ends_read(events: Sequence[Event]) -> Iterator[Fault]:
    """Of every film that was accepted the end was read; clients ask as long as the trial has patience."""
    reads = [event for event in events if event.action is Action.READ and event.outcome is Outcome.OK]
    ended = {event.job for event in reads if event.state in TERMINAL}
    for job in sorted({event.job for event in accepted(events) if event.job} - ended):
        yield Fault(Kind.OTHER, job, "its end was never read")


def accepted(events: Iterable[Event]) -> Iterator[Event]:
    """The submissions that were answered 202."""
    return (event for event in events if event.action is Action.SUBMIT and event.outcome is Outcome.OK)


def _check_result(job: JobRow, results: Sequence[ResultRow]) -> Iterator[Fault]:
    has_succeeded = job.state == JobState.SUCCEEDED
    if has_succeeded and not results:
        yield Fault(Kind.LOST, job.id, "succeeded without a result")
    if len(results) > int(has_succeeded) and results:
        yield Fault(Kind.DOUBLED, job.id, f"{job.state} with {len(results)} results")
    for result in results:
        if result.attempt != job.attempt:
            yield Fault(Kind.STALE, job.id, f"the result is of attempt {result.attempt}, the job at {job.attempt}")
        if not result.is_own:
            yield Fault(Kind.OTHER, job.id, "the result is not the answer to its film")


def _check_order(job: str, reads: Sequence[tuple[float, Event]], end: JobRow | None) -> Iterator[Fault]:
    for place, (_, later) in enumerate(reads):
        for _, earlier in reads[:place]:
            if earlier.at <= reads[place][0]:
                yield from _compare(job, earlier.state, earlier.attempt, later.state, later.attempt)
    if end is not None and reads:
        last = reads[-1][1]
        yield from _compare(job, last.state, last.attempt, end.state, end.attempt)


def _compare(
    job: str, state: str | None, attempt: int | None, later_state: str | None, later_attempt: int | None
) -> Iterator[Fault]:
    if state in TERMINAL and later_state != state:
        yield Fault(Kind.STALE, job, f"read as {state}, later as {later_state}")
    if attempt is not None and later_attempt is not None and later_attempt < attempt:
        yield Fault(Kind.STALE, job, f"read at attempt {attempt}, later at {later_attempt}")
