"""Where requests wait for their jobs: one listener and one reader a process, however many wait. Knows no Flask.

The listener hears from the notifier which jobs have changed. The reader asks SQL about those that somebody waits for,
in one statement for all of them and one for those that have ended, and hands each waiter what it has not seen. Once a
second it asks about all that are waited for, so a hint that was lost, or a broker that is dead, costs a second at most
and no loop a client.
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
from web import submit
from web.offload import read_row

LONGEST_WAIT_S: Final = 30
"""More is shortened to this: many proxies cut a silent request off after 60 s."""

LOOK_EVERY_S: Final = 1.0
LOOKS_AN_END: Final = 5
"""Every so many looks, films past their time are ended; workers do it every other second, if there are any."""

log = get_logger(__name__)


def ask_again_in_s(left_s: float) -> int:
    """When to ask again for what is likely there in `left_s`: at half of it, so that nobody comes much too late."""
    return min(LONGEST_WAIT_S, max(1, int(left_s / 2)))


class Waiter:
    """One request that waits for what happens to a job after event `after`."""

    def __init__(self, tenant: str, job_id: str, after: int) -> None:
        self.tenant = tenant
        self.job_id = job_id
        self.job: wire.Job | None = None
        """As it ended, once it has."""
        self._after = after
        self._found: list[wire.JobEvent] = []
        self._guard = threading.Lock()
        self._wake = threading.Event()

    def give(self, events: Sequence[wire.JobEvent], job: wire.Job | None = None) -> None:
        """Hand over a job's events, in order, and the job if it has ended; events given before are left out."""
        with self._guard:
            self.job = job
            fresh = [event for event in events if event.seq > self._after]
            if fresh:
                self._after = fresh[-1].seq
                self._found += fresh
                self._wake.set()

    def wake(self) -> None:
        """Let it go on with nothing."""
        self._wake.set()

    def next(self, wait_s: float) -> list[wire.JobEvent]:
        """What is new, waited for up to `wait_s`; empty where nothing came."""
        self._wake.wait(max(0.0, wait_s))
        with self._guard:
            found, self._found = self._found, []
            self._wake.clear()
        return found


class WaitingRoom:
    """All waiters of this process; the two threads start with the first of them.

    Args:
        clock: seconds that only rise.
        look_every_s: how often all that are waited for are asked about, whatever was hinted at.

    Attributes:
        is_ending: set where the process is about to end: within a second all waiters are let go.
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
        """A new waiter; `leave` must follow.

        Raises:
            WaitersFull: the process has as many as it takes.
            TenantWaitersFull: this tenant has.
        """
        waiter = Waiter(tenant, job_id, after)
        with self._guard:
            most, most_of_tenant = self._limits
            if self._counts.total() >= most:
                raise WaitersFull("Too many requests wait for answers; poll, or try again shortly.")
            if self._counts[tenant] >= most_of_tenant:
                raise TenantWaitersFull(
                    f"You have {most_of_tenant} requests waiting, which is the limit; poll instead."
                )
            self._counts[tenant] += 1
            self._waiters[job_id].add(waiter)
            self._start()
        self._bell.set()  # an idle reader looks again once a second from now on
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Forget a waiter; idempotent."""
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
        """A waiter for the length of a block; raises as `join` does."""
        waiter = self.join(tenant, job_id)
        try:
            yield waiter
        finally:
            self.leave(waiter)

    def wait_until_done(self, waiter: Waiter, wait_s: float) -> wire.Job | None:
        """The waiter's job once it has ended; None after `wait_s`."""
        until = self._clock() + wait_s
        while not self.is_ending and (left_s := until - self._clock()) > 0:
            if any(event.done for event in waiter.next(left_s)):
                return waiter.job
        return None

    def count(self) -> int:
        """How many wait."""
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
                waited_for = self._waiters.keys() & set(job_ids)
                self._changed |= waited_for
            if waited_for:
                self._bell.set()
        self._is_closed = True
        self._bell.set()

    def _read(self) -> None:
        """Read what was hinted at, and once a second all that is waited for; now and then end what is past its time."""
        look_at, looks = self._clock(), 0
        while not self._is_closed:
            self._bell.wait(max(0.0, look_at - self._clock()) if self._waiters else None)
            self._bell.clear()
            if self.is_ending:
                self._let_go()
            is_due = self._clock() >= look_at
            if is_due:
                look_at, looks = self._clock() + self._look_every_s, looks + 1
                if looks % LOOKS_AN_END == 0:
                    self._end_overdue()
            asked = self._take(everything=is_due)
            if asked:
                self._tell(asked)

    def _end_overdue(self) -> None:
        """Nobody else may: where no worker lives."""
        with logging_faults(log, "overdue.not_ended"):
            submit.end_overdue(self._database, self._notifier)

    def _take(self, *, everything: bool) -> list[str]:
        with self._guard:
            hinted, self._changed = self._changed, set()
            return sorted(self._waiters) if everything else sorted(hinted & self._waiters.keys())

    def _tell(self, job_ids: Collection[str]) -> None:
        with logging_faults(log, "events.not_read"):  # then they are asked for again within a second
            found, ended = read_row(self._database, lambda sql: _read_events(sql, job_ids))
            for job_id, events in found.items():
                for waiter in self._of(job_id):
                    waiter.give(events, ended.get(job_id))

    def _of(self, job_id: str) -> list[Waiter]:
        with self._guard:
            return list(self._waiters.get(job_id, ()))

    def _let_go(self) -> None:
        with self._guard:
            waiters = [waiter for of_job in self._waiters.values() for waiter in of_job]
        for waiter in waiters:
            waiter.wake()


def _read_events(
    sql: Sql, job_ids: Collection[str]
) -> tuple[Mapping[str, list[wire.JobEvent]], Mapping[str, wire.Job]]:
    """What happened to these jobs, and those that have ended, in one snapshot: all waiters cost two statements."""
    found = event_queries.list_events(sql, job_ids)
    ended = [job_id for job_id, events in found.items() if events[-1].done]
    return found, queries.get_jobs(sql, ended) if ended else {}


def get_job_when_done(
    resources: Resources, room: WaitingRoom, who: Principal, receipt: submit.Receipt, wait_s: float
) -> wire.Job:
    """The job once it has ended, or as it is after `wait_s`.

    A new job is not looked at first: it has only just been queued, and what falls between is found within a second.

    Raises:
        JobNotFound: unknown, or of another tenant.
        WaitersFull, TenantWaitersFull: nothing can wait just now.
    """
    job_id = receipt.job_id
    with room.waiting(who.tenant, job_id) as waiter:  # before the first look, so that nothing falls between
        if not receipt.is_new:
            job = submit.get_job(resources, who, job_id)
            if job.done:
                return job
        ended = room.wait_until_done(waiter, wait_s)
    return ended or submit.get_job(resources, who, job_id)
