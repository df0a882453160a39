"""Backpressure: refuses films before they are decoded if too many wait or the disk is nearly full.

Each web process reads the queue's length from the database at most once a second. Between two reads it adds the films
that it accepted itself, and always those that it has admitted and is still storing. So a limit may be exceeded by what
the other processes accept within that second, and no more. A film accepted during a read may count twice for that
second. The disk is asked as rarely, out of the event loop: a disk that hangs would stall all requests.
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

READ_EVERY_S: Final = 1.0
DISK_S: Final = 3.0
"""Timeout for reading the free space; after it the disk counts as down."""

LONGEST_WAIT_S: Final = 300
WAIT_WITHOUT_RATE_S: Final = 30
"""`Retry-After` if no film was finished lately."""


@dataclass(frozen=True, slots=True)
class Load:
    """The queue's load: waiting films by tenant, and the films per second that workers take."""

    queued: Mapping[str, int]
    rate: float

    @property
    def total(self) -> int:
        """Waiting films of all tenants."""
        return sum(self.queued.values())


@dataclass(slots=True)
class Backpressure:
    """Admits films while the queue and the disk have room for them."""

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
        """Reserve a place in the queue for one film of a tenant; `note_accepted` or `give_back` must follow.

        Raises:
            TenantQueueFull: too many films of this tenant wait.
            QueueFull: too many films of all tenants wait.
            StorageFull: the disk has too little room left.
            StorageDown, DatabaseDown: the disk or the database does not answer.
        """
        load = self._current()
        self.check_disk()
        with self._guard:
            self._check(load, tenant)
            self._admitted[tenant] += 1

    def note_accepted(self, tenant: str) -> None:
        """Count an admitted film as accepted, until the next read of the database includes it."""
        with self._guard:
            self._admitted[tenant] -= 1
            self._accepted[tenant] += 1

    def give_back(self, tenant: str) -> None:
        """Release the place of an admitted film that was not accepted."""
        with self._guard:
            self._admitted[tenant] -= 1

    def check_disk(self) -> None:
        """Check that the disk has room for more films.

        Raises:
            StorageFull: it has too little.
            StorageDown: it does not answer.
        """
        if self.free_bytes() < self.settings.min_free_bytes:
            raise StorageFull("The service has no disk space left for films; inform its operator, and try again later.")

    def free_bytes(self) -> int:
        """Return the free bytes on the disk, at most a second old.

        Raises:
            StorageDown: the disk does not answer.
        """
        if self.clock() - self._measured_at >= READ_EVERY_S:
            try:
                self._free_bytes = self._disk.ask()
            except (OSError, TimeoutError) as error:
                raise StorageDown("The free disk space could not be determined; try again shortly.") from error
            self._measured_at = self.clock()
        return self._free_bytes

    def find_free_bytes(self) -> int | None:
        """Return `free_bytes()`; None if the disk does not answer."""
        try:
            return self.free_bytes()
        except StorageDown:
            return None

    def places_left(self, tenant: str) -> int:
        """Return how many more films a tenant may have waiting, by the last read; reads nothing."""
        with self._guard:
            return max(0, self.settings.tenant_queue_limit - self._count(self._load, tenant))

    def estimate(self, job: wire.Job) -> wire.Job:
        """Return a queued job with `eta_s` set; unchanged if its queue position or the rate is unknown."""
        rate = self._current().rate
        if job.queue_position is None or job.queue_position >= queries.MAX_POSITION or rate <= 0:
            return job
        return job.model_copy(update={"eta_s": math.ceil((job.queue_position + 1) / rate)})

    def _check(self, load: Load, tenant: str) -> None:
        settings = self.settings
        waiting = self._count(load, tenant)
        total = load.total + self._accepted.total() + self._admitted.total()
        if waiting >= settings.tenant_queue_limit:
            wait_s = seconds_until_room(waiting - settings.tenant_queue_limit, load.rate)
            raise TenantQueueFull(
                f"You have {waiting} films waiting, and the limit is {settings.tenant_queue_limit}; try again later.",
                wait_s,
            )
        if total >= settings.queue_limit:
            wait_s = seconds_until_room(total - settings.queue_limit, load.rate)
            raise QueueFull("The service's queue of films is full; try again later.", wait_s)

    def _count(self, load: Load, tenant: str) -> int:
        return load.queued.get(tenant, 0) + self._accepted[tenant] + self._admitted[tenant]

    def _current(self) -> Load:
        with self._guard:
            if self.clock() - self._asked_at < READ_EVERY_S:
                return self._load
            self._asked_at = self.clock()  # before the read, so that other requests use the last load meanwhile
            accepted_before = self._accepted.copy()
        load = read(self.database, self._read_load)
        with self._guard:
            self._load, self._accepted = load, self._accepted - accepted_before
        return load

    def _read_load(self, session: Session) -> Load:
        now = self.database.now(session)
        return Load(queue_queries.count_queued(session), queue_queries.work_rate(session, now))


def seconds_until_room(over: int, rate: float) -> int:
    """Return the seconds until `over` + 1 films are finished at `rate` per second, between 1 and 300."""
    if rate <= 0:
        return WAIT_WITHOUT_RATE_S
    return max(1, min(LONGEST_WAIT_S, math.ceil((over + 1) / rate)))
