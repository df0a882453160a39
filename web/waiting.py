"""Requests that wait for their jobs: one listener and one reader per process for all of them. Knows no Flask.

The listener receives hints from the notifier which jobs have changed. The reader queries the events of those that a
request waits for, in one statement, and the jobs of those that have ended in another, and gives each waiter the events
that it has not seen. Once a second it queries all jobs that are waited for, so a lost hint or a dead broker costs a
second at most, and no client needs a polling loop of its own.
Under gevent the threads here are greenlets.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from shared import wire
from shared.db import event_queries, queries
from shared.db.engine import Database, Sql
from shared.db.keys import Principal
from shared.errors import TenantWaitersFull, WaitersFull
from shared.log import get_logger, logging_faults
from shared.ports import Notifier
from shared.settings import Settings
from shared.wiring import Resources
from web import jobs
from web.acceptance import Accepted
from web.offload import read_row

LONGEST_WAIT_S: Final = 30
"""Longer waits are shortened to this: many proxies cut a silent request off after 60 s."""

LOOK_EVERY_S: Final = 1.0
LOOKS_PER_EXPIRY: Final = 5
"""Expired jobs are ended at every fifth look; living workers do it every other second."""

log = get_logger(__name__)


def ask_again_in_s(left_s: float) -> int:
    """Return the polling delay for a result that is expected in `left_s`: half of it, within 1 and 30 s."""
    return min(LONGEST_WAIT_S, max(1, int(left_s / 2)))


class Waiter:
    """One request that waits for the events of a job after number `after`."""

    def __init__(self, tenant: str, job_id: str, after: int) -> None:
        self.tenant = tenant
        self.job_id = job_id
        self.job: wire.Job | None = None
        """The job after its end; None before."""
        self._after = after
        self._events: list[wire.JobEvent] = []
        self._guard = threading.Lock()
        self._wake = threading.Event()

    def give(self, events: Sequence[wire.JobEvent], job: wire.Job | None = None) -> None:
        """Hand over a job's events in order, and the job if it has ended; events given before are skipped."""
        with self._guard:
            self.job = job
            fresh = [event for event in events if event.seq > self._after]
            if fresh:
                self._after = fresh[-1].seq
                self._events += fresh
                self._wake.set()

    def wake(self) -> None:
        """Let `next` return without events."""
        self._wake.set()

    def next(self, wait_s: float) -> list[wire.JobEvent]:
        """Return the new events, after waiting for up to `wait_s`; empty if there are none."""
        self._wake.wait(max(0.0, wait_s))
        with self._guard:
            events, self._events = self._events, []
            self._wake.clear()
        return events


class WaitingRoom:
    """All waiters of this process; its two threads start with the first waiter.

    Args:
        clock: monotonic seconds.
        look_every_s: how often all jobs that are waited for are queried, hinted at or not.

    Attributes:
        is_ending: set when the process is about to end; all waiters are released within a second.
    """

    def __init__(
        self,
        database: Database,
        notifier: Notifier,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self.is_ending = False
        self._database = database
        self._notifier = notifier
        self._limits = (settings.waiter_limit, settings.tenant_waiter_limit)
        self._clock = clock
        self._look_every_s = look_every_s
        self._waiters: dict[str, set[Waiter]] = defaultdict(set)
        self._counts: Counter[str] = Counter()
        self._changed: set[str] = set()
        self._guard = threading.Lock()
        self._bell = threading.Event()
        self._is_started = self._is_closed = False

    def join(self, tenant: str, job_id: str, after: int = 0) -> Waiter:
        """Return a new waiter; `leave` must follow.

        Raises:
            WaitersFull: the process has the most waiters that it may have.
            TenantWaitersFull: the tenant has the most that it may have.
        """
        waiter = Waiter(tenant, job_id, after)
        with self._guard:
            most, most_of_tenant = self._limits
            if self._counts.total() >= most:
                raise WaitersFull("Too many requests are waiting for answers; poll instead, or try again shortly.")
            if self._counts[tenant] >= most_of_tenant:
                raise TenantWaitersFull(
                    f"You have {most_of_tenant} requests waiting, which is the limit; poll instead."
                )
            self._counts[tenant] += 1
            self._waiters[job_id].add(waiter)
            self._start()
        self._bell.set()  # wakes an idle reader, which now looks once a second
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Remove a waiter; idempotent."""
        with self._guard:
            of_job = self._waiters.get(waiter.job_id, set())
            if waiter not in of_job:
                return
            of_job.remove(waiter)
            self._counts[waiter.tenant] -= 1
            if not of_job:
                del self._waiters[waiter.job_id]

    @contextmanager
    def waiting(self, tenant: str, job_id: str) -> Iterator[Waiter]:
        """Provide a waiter for a `with` block; raises as `join` does."""
        waiter = self.join(tenant, job_id)
        try:
            yield waiter
        finally:
            self.leave(waiter)

    def wait_until_done(self, waiter: Waiter, wait_s: float) -> wire.Job | None:
        """Return the waiter's job after its end; None if it has not ended within `wait_s`."""
        until = self._clock() + wait_s
        while not self.is_ending and (left_s := until - self._clock()) > 0:
            if any(event.done for event in waiter.next(left_s)):
                return waiter.job
        return None

    def count(self) -> int:
        """Return the number of waiters."""
        return self._counts.total()

    def _start(self) -> None:
        if not self._is_started:
            self._is_started = True
            for name, loop in (("listen", self._listen), ("read", self._read)):
                threading.Thread(target=loop, name=f"waiting-{name}", daemon=True).start()

    def _listen(self) -> None:
        """Take hints until the notifier is closed."""
        for job_ids in self._notifier.listen():
            with self._guard:
                awaited = self._waiters.keys() & set(job_ids)
                self._changed |= awaited
            if awaited:
                self._bell.set()
        self._is_closed = True
        self._bell.set()

    def _read(self) -> None:
        """Query hinted jobs at once and all awaited jobs every second; end expired jobs at every fifth such look."""
        look_at, looks = self._clock(), 0
        while not self._is_closed:
            self._bell.wait(max(0.0, look_at - self._clock()) if self._waiters else None)
            self._bell.clear()
            if self.is_ending:
                self._wake_all()
            is_due = self._clock() >= look_at
            if is_due:
                look_at, looks = self._clock() + self._look_every_s, looks + 1
                if looks % LOOKS_PER_EXPIRY == 0:
                    self._end_overdue()
            job_ids = self._take_changed(everything=is_due)
            if job_ids:
                self._hand_out(job_ids)

    def _end_overdue(self) -> None:
        """End expired jobs here too, since there may be no living worker that does."""
        with logging_faults(log, "overdue.not_ended"):
            jobs.end_overdue(self._database, self._notifier)

    def _take_changed(self, *, everything: bool) -> list[str]:
        with self._guard:
            hinted, self._changed = self._changed, set()
            return sorted(self._waiters) if everything else sorted(hinted & self._waiters.keys())

    def _hand_out(self, job_ids: Collection[str]) -> None:
        with logging_faults(log, "events.not_read"):  # the next look queries them again
            events_by_job, ended = read_row(self._database, lambda sql: _read_events(sql, job_ids))
            for job_id, events in events_by_job.items():
                for waiter in self._list_waiters(job_id):
                    waiter.give(events, ended.get(job_id))

    def _list_waiters(self, job_id: str) -> list[Waiter]:
        with self._guard:
            return list(self._waiters.get(job_id, ()))

    def _wake_all(self) -> None:
        with self._guard:
            waiters = [waiter for of_job in self._waiters.values() for waiter in of_job]
        for waiter in waiters:
            waiter.wake()


def _read_events(
    sql: Sql, job_ids: Collection[str]
) -> tuple[Mapping[str, list[wire.JobEvent]], Mapping[str, wire.Job]]:
    """Return the events of jobs, and the jobs that have ended, of one snapshot: two statements for all waiters."""
    events_by_job = event_queries.list_events(sql, job_ids)
    ended = [job_id for job_id, events in events_by_job.items() if events[-1].done]
    return events_by_job, queries.get_jobs(sql, ended) if ended else {}


def get_job_when_done(
    resources: Resources, room: WaitingRoom, who: Principal, accepted: Accepted, wait_s: float
) -> wire.Job:
    """Return the job after its end, or its current state after `wait_s`.

    A new job is not read before the wait, since it was queued just now; the reader's next look finds an early end.

    Raises:
        JobNotFound: unknown, or of another tenant.
        WaitersFull, TenantWaitersFull: no request can wait just now.
    """
    job_id = accepted.job_id
    with room.waiting(who.tenant, job_id) as waiter:  # joined before the read, so that no event is missed
        if not accepted.is_new:
            job = jobs.get_job(resources, who, job_id)
            if job.done:
                return job
        ended = room.wait_until_done(waiter, wait_s)
    return ended or jobs.get_job(resources, who, job_id)
