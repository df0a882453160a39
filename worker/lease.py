"""Keeps the leases of what is in hand: a thread that renews them, and ends a process that computes too long.

Celery's time limits do not reach solo and threads pools, and a hung computation holds the interpreter's attention;
so past the run limit the process ends itself and the lease does the rest.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from shared.db import jobs
from shared.db.engine import Database
from shared.db.leases import Claim
from shared.errors import AppError
from shared.log import get_logger

log = get_logger(__name__)

EXIT_RUN_LIMIT = 75
"""The process's exit status past the run limit (EX_TEMPFAIL of sysexits.h)."""


WATCH_EVERY_S = 1.0


def end_process() -> None:
    """End this process at once, without cleaning up: what it held is given back by the lease."""
    os._exit(EXIT_RUN_LIMIT)


class Renewing(Protocol):
    """Changes of rows that are leased: of jobs, or of explanations."""

    def renew(self, claims: Sequence[Claim], lease_s: float) -> list[Claim]:
        """Extend the leases that are still ours; return those."""


Changing = Callable[[Database], AbstractContextManager[Renewing]]


@dataclass(slots=True, eq=False)
class _Holding:
    """Leases that are kept together: those of a batch, or of an explanation."""

    claims: list[Claim]
    changing: Changing
    deadline: float


@dataclass(slots=True)
class LeaseKeeper:
    """Renews every `lease_s` / 3 what is held: a batch in hand, and the next one where it is claimed already.

    Attributes:
        lease_s: how long a renewed lease lasts, by the database's clock.
        run_limit_s: how long one batch may take before `give_up` is called.
    """

    database: Database
    lease_s: float
    run_limit_s: float
    give_up: Callable[[], None] = end_process
    _holdings: list[_Holding] = field(default_factory=list)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def holding(
        self, claims: Sequence[Claim], changing: Changing = jobs.changing, patience: float = 1.0
    ) -> Iterator[None]:
        """Keep these leases, of jobs unless told otherwise, until the block ends; for `patience` run limits at most."""
        mine = _Holding(list(claims), changing, time.monotonic() + patience * self.run_limit_s)
        with self._guard:
            self._holdings.append(mine)
        try:
            yield
        finally:
            with self._guard:
                self._holdings.remove(mine)

    def tick(self) -> None:
        """One renewal; called by `run`, and by tests."""
        if not self.enforce():
            for holding in self._held():
                self._renew(holding)

    def enforce(self) -> bool:
        """Give up where a run limit is passed, of a batch whose leases are all lost too; True where one was."""
        holdings = self._held()
        is_over = any(time.monotonic() > holding.deadline for holding in holdings)
        if is_over:
            log.error("run_limit.reached", n=len(holdings), run_limit_s=self.run_limit_s)
            self.give_up()
        return is_over

    def _held(self) -> list[_Holding]:
        with self._guard:
            return list(self._holdings)

    def _renew(self, holding: _Holding) -> None:
        if not holding.claims:
            return
        try:
            with holding.changing(self.database) as changes:
                holding.claims = changes.renew(holding.claims, self.lease_s)
        except AppError as error:
            log.warning("lease.not_renewed", code=error.code, n=len(holding.claims))

    def run(self, stop: threading.Event) -> None:
        """Tick until `stop` is set."""
        while not stop.wait(self.lease_s / 3):
            try:
                self.tick()
            except Exception:  # this thread must outlive every fault
                log.exception("lease.failed")

    def watch(self, stop: threading.Event) -> None:
        """Enforce the run limit until `stop` is set; asks no database, whose silence would hold it up."""
        while not stop.wait(WATCH_EVERY_S):
            self.enforce()
