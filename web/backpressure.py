"""When to say no: too many films wait, or the disk is nearly full. Asked before a film is decoded.

The database is asked how many wait at most once a second by each web process; in between, the process adds what it
accepted itself, and at any time the films that it is about to accept: each has a place from its admission on. So a
limit may be passed by what the other processes accept within that second, and no more. A film that is accepted while
the database is asked may count twice for that second. The disk is asked as seldom, out of the loop: one that hangs
would stall all requests.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy.orm import Session

from shared import home, wire
from shared.db import queries, queue_queries
from shared.db.engine import Database
from shared.errors import QueueFull, StorageDown, StorageFull, TenantQueueFull
from shared.greenlets import SingleFlight
from shared.settings import Settings
from web.offload import read

ASK_EVERY_S: Final = 1.0
DISK_S: Final = 3.0
"""A disk that does not say how much room it has in this time is one that is away."""
LONGEST_WAIT_S: Final = 300
WAIT_WITHOUT_RATE_S: Final = 30
"""What a client is told to wait where nothing was finished lately."""


@dataclass(frozen=True, slots=True)
class Load:
    """How many films wait, by tenant, and how many a second are finished."""

    queued: Mapping[str, int]
    rate: float

    @property
    def total(self) -> int:
        """Of all tenants."""
        return sum(self.queued.values())


@dataclass(slots=True)
class Backpressure:
    """Admits films while there is room for them."""

    database: Database
    settings: Settings
    clock: Callable[[], float] = time.monotonic
    _load: Load = field(default_factory=lambda: Load({}, 0.0))
    _asked_at: float = -math.inf
    _free_bytes: int = 0
    _measured_at: float = -math.inf
    _disk: SingleFlight[int] = field(init=False)
    _accepted: Counter[str] = field(default_factory=Counter)
    _admitted: Counter[str] = field(default_factory=Counter)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._disk = SingleFlight(lambda: home.free_bytes(self.settings), DISK_S)

    def admit(self, tenant: str) -> None:
        """Give one more film of this tenant a place, until `note_accepted` or `give_back` is called for it.

        Raises:
            TenantQueueFull: this tenant has too many waiting.
            QueueFull: all together have.
            StorageFull: the disk has too little room left.
            StorageDown, DatabaseDown: it does not say.
        """
        load = self._current()
        self.check_room()
        with self._guard:
            self._check(load, tenant)
            self._admitted[tenant] += 1

    def note_accepted(self, tenant: str) -> None:
        """An admitted film was accepted: it counts until the database is asked again, which then counts it itself."""
        with self._guard:
            self._admitted[tenant] -= 1
            self._accepted[tenant] += 1

    def give_back(self, tenant: str) -> None:
        """An admitted film was not accepted: its place is free."""
        with self._guard:
            self._admitted[tenant] -= 1

    def check_room(self) -> None:
        """Return where the disk has room for more films.

        Raises:
            StorageFull: it has not.
            StorageDown: it does not say.
        """
        if self.free_bytes() < self.settings.min_free_bytes:
            raise StorageFull("The service has no room for more films; tell its operator, and try again later.")

    def free_bytes(self) -> int:
        """Room on the disk, as it was within the last second.

        Raises:
            StorageDown: it does not say.
        """
        if self.clock() - self._measured_at >= ASK_EVERY_S:
            try:
                self._free_bytes = self._disk.ask()
            except (OSError, TimeoutError) as error:
                raise StorageDown("The disk does not say how much room it has; try again shortly.") from error
            self._measured_at = self.clock()
        return self._free_bytes

    def find_free_bytes(self) -> int | None:
        """`free_bytes`; None where the disk does not say."""
        try:
            return self.free_bytes()
        except StorageDown:
            return None

    def places_left(self, tenant: str) -> int:
        """How many films more it may have waiting, by what was counted last: nothing is asked."""
        with self._guard:
            return max(0, self.settings.tenant_queue_limit - self._count(self._load, tenant))

    def estimate(self, job: wire.Job) -> wire.Job:
        """A queued job with the time until it may be answered, where films are answered at all."""
        rate = self._current().rate
        if job.queue_position is None or job.queue_position >= queries.MAX_POSITION or rate <= 0:
            return job
        return job.model_copy(update={"eta_s": math.ceil((job.queue_position + 1) / rate)})

    def _check(self, load: Load, tenant: str) -> None:
        settings = self.settings
        mine = self._count(load, tenant)
        total = load.total + self._accepted.total() + self._admitted.total()
        if mine >= settings.tenant_queue_limit:
            wait_s = seconds_until_room(mine - settings.tenant_queue_limit, load.rate)
            raise TenantQueueFull(
                f"You have {mine} films waiting, and the limit is {settings.tenant_queue_limit}; try again later.",
                wait_s,
            )
        if total >= settings.queue_limit:
            wait_s = seconds_until_room(total - settings.queue_limit, load.rate)
            raise QueueFull("The service has as many films waiting as it takes; try again later.", wait_s)

    def _count(self, load: Load, tenant: str) -> int:
        return load.queued.get(tenant, 0) + self._accepted[tenant] + self._admitted[tenant]

    def _current(self) -> Load:
        with self._guard:
            if self.clock() - self._asked_at < ASK_EVERY_S:
                return self._load
            self._asked_at = self.clock()  # before the answer: the others go on with the last one meanwhile
            before = self._accepted.copy()
        load = read(self.database, self._ask)
        with self._guard:
            self._load, self._accepted = load, self._accepted - before
        return load

    def _ask(self, session: Session) -> Load:
        now = self.database.now(session)
        return Load(queue_queries.count_queued(session), queue_queries.finish_rate(session, now))


def seconds_until_room(over: int, rate: float) -> int:
    """How long until `over` + 1 films are finished at `rate` a second; between 1 and 300 s."""
    if rate <= 0:
        return WAIT_WITHOUT_RATE_S
    return max(1, min(LONGEST_WAIT_S, math.ceil((over + 1) / rate)))
