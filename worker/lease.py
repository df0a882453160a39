"""The lease keeper: renews the leases of films and explanations in hand, and ends a process that computes too long.

Celery's time limits do not apply to its solo and threads pools. Native code that hangs never returns to the
interpreter, so no exception can stop it; past the run limit we call os._exit, and the leases give the films back.
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
"""Exit status of the process past the run limit (EX_TEMPFAIL of sysexits.h)."""


WATCH_EVERY_S = 1.0


def end_process() -> None:
    """End this process at once, without cleanup; the leases of its films and explanations expire."""
    os._exit(EXIT_RUN_LIMIT)


class Renewing(Protocol):
    """Changes of leased rows: of jobs, or of explanations."""

    def renew(self, claims: Sequence[Claim], lease_s: float) -> list[Claim]:
        """Extend the leases that this worker still holds; return those."""


Changing = Callable[[Database], AbstractContextManager[Renewing]]


@dataclass(slots=True, eq=False)
class _Holding:
    """Leases that are renewed together: those of a batch, or of an explanation."""

    claims: list[Claim]
    changing: Changing
    deadline: float


@dataclass(slots=True)
class LeaseKeeper:
    """Renews the held leases every `lease_s` / 3: of the batches in hand and of an explanation.

    Attributes:
        lease_s: duration of a renewed lease, by the clock of the database.
        run_limit_s: duration of a batch after which `give_up` is called.
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
        """Renew these leases until the block ends.

        Args:
            changing: opens the transaction that renews them; that of jobs by default.
            patience: the most run limits that the block may take before `give_up` is called.
        """
        holding = _Holding(list(claims), changing, time.monotonic() + patience * self.run_limit_s)
        with self._guard:
            self._holdings.append(holding)
        try:
            yield
        finally:
            with self._guard:
                self._holdings.remove(holding)

    def tick(self) -> None:
        """Renew all leases once, unless a run limit is passed; called by `run`, and by tests."""
        if not self.enforce():
            for holding in self._held():
                self._renew(holding)

    def enforce(self) -> bool:
        """Call `give_up` if a run limit is passed, even of a batch whose leases are all lost; return whether one is."""
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
        """Renew these leases and drop the lost ones; if the database is unavailable, the next tick retries."""
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
        """Enforce the run limit until `stop` is set; uses no database, since one that hangs would block this thread."""
        while not stop.wait(WATCH_EVERY_S):
            self.enforce()
