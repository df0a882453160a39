"""One look at what is to be told, and the telling of one delivery. `run` does both again and again.

Any number of dispatchers may run: what one derives no other does, and what one sends another leaves alone until its
lease is over.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from shared import webhook_wire as wire
from shared.db import deliveries
from shared.db.deliveries import Answer, DeliveryClaim
from shared.db.engine import Database
from shared.domain import DeliveryState, JobState
from shared.errors import DatabaseDown, StorageFull
from shared.log import get_logger
from shared.ports import IdSource
from shared.webhooks import signature
from shared.webhooks.post import Poster

log = get_logger(__name__)

JITTER: Final = 0.1
"""A pause is up to a tenth longer: what failed together does not return together."""

NOTE_AGAIN_S: Final = 1.0
"""Between two tries to write down what came of a delivery."""


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Tells webhooks what happened, with the effects that it takes.

    Attributes:
        ending: set where the process is to end: nothing is waited for any more.
    """

    database: Database
    poster: Poster
    new_id: IdSource
    draw: random.Random
    ending: threading.Event = field(default_factory=threading.Event)

    def look(self) -> int:
        """Make deliveries of what happened since the last look; how many.

        Raises:
            DatabaseDown: try again at the next look.
        """
        with self.database.read_core() as sql:
            found = deliveries.find_news(sql)
        made = 0
        for news in found:
            with self.database.begin_core() as sql:
                made += deliveries.keep(sql, news, self.database.now(sql), self.new_id)
        return made

    def claim(self, room: int, in_hand: Mapping[str, int] = MappingProxyType({})) -> list[DeliveryClaim]:
        """Take what is due, up to `room`, see `deliveries.claim`; reads before it takes a write lock."""
        if not room:
            return []
        with self.database.read_core() as sql:
            if not deliveries.has_due(sql, self.database.now(sql)):
                return []
        with self.database.begin_core() as sql:
            return deliveries.claim(sql, self.database.now(sql), room, in_hand)

    def deliver(self, held: DeliveryClaim) -> DeliveryState | None:
        """Send one and write down what came of it; where that fails, it is sent again after its lease.

        Raises:
            DatabaseDown, StorageFull: all the while that the lease lasts, or until the process is to end.
        """
        over_at = time.monotonic() + deliveries.LEASE_S
        body = write_body(held)
        answer = self.poster.post(held.url, signature.headers(held.secrets, held.id, held.now, body), body)
        state = self._note(held, answer, over_at)
        log.info("webhook.tried", webhook=held.webhook_id, delivery=held.id, attempt=held.attempt, state=state,
                 status=answer.status, error=answer.error, duration_ms=answer.duration_ms)  # fmt: skip
        return state

    def _note(self, held: DeliveryClaim, answer: Answer, over_at: float) -> DeliveryState | None:
        """A database that is away for a moment costs no second sending, and no minute without any."""
        while True:
            try:
                with self.database.begin_core() as sql:
                    return deliveries.note(sql, held, answer, pause_s(held.tries, self.draw), self.database.now(sql))
            except (DatabaseDown, StorageFull):
                if time.monotonic() + NOTE_AGAIN_S > over_at or self.ending.wait(NOTE_AGAIN_S):
                    raise

    def purge(self) -> int:
        """Remove deliveries that were kept for their time; how many."""
        with self.database.begin_core() as sql:
            return deliveries.purge(sql, self.database.now(sql))


def pause_s(tries: int, draw: random.Random) -> float:
    """Before the next try, after so many (from 1) have failed; after the last one it does not matter."""
    planned = deliveries.RETRY_AFTER_S[min(tries, len(deliveries.RETRY_AFTER_S)) - 1]
    return planned * draw.uniform(1, 1 + JITTER)


def write_body(held: DeliveryClaim) -> bytes:
    """What is sent: the same bytes at each try."""
    if held.job_id is None:
        return wire.Ping(timestamp=held.happened_at).model_dump_json().encode()
    job = wire.EndedJob(id=held.job_id, status=JobState(held.type.removeprefix("job.")), batch_id=held.batch_id)
    ended = wire.JobEnded.model_validate({"type": held.type, "timestamp": held.happened_at, "data": job})
    return ended.model_dump_json().encode()
