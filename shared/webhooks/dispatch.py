"""The steps of the dispatcher, which `run` repeats: making deliveries from the audit chain, claiming and sending them.

Any number of dispatchers may run: each event is turned into deliveries by one of them, and a claimed delivery is left
alone by the others until its lease is over.
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
"""A pause is up to a tenth longer, so that deliveries which failed together are not retried together."""

NOTE_RETRY_S: Final = 1.0
"""Pause between two tries to record the outcome of a delivery."""


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Notifies webhooks of events, with the effects that this needs.

    Attributes:
        ending: set when the process is to end: from then on nothing waits.
    """

    database: Database
    poster: Poster
    new_id: IdSource
    draw: random.Random
    ending: threading.Event = field(default_factory=threading.Event)

    def look(self) -> int:
        """Make deliveries of the events since the last look; return their number.

        Raises:
            DatabaseDown: the next look tries again.
        """
        with self.database.read_core() as sql:
            all_news = deliveries.find_news(sql)
        number = 0
        for news in all_news:
            with self.database.begin_core() as sql:
                number += deliveries.keep(sql, news, self.database.now(sql), self.new_id)
        return number

    def claim(self, room: int, in_hand: Mapping[str, int] = MappingProxyType({})) -> list[DeliveryClaim]:
        """Claim up to `room` due deliveries, see `deliveries.claim`; takes no write lock where none is due."""
        if not room:
            return []
        with self.database.read_core() as sql:
            if not deliveries.has_due(sql, self.database.now(sql)):
                return []
        with self.database.begin_core() as sql:
            return deliveries.claim(sql, self.database.now(sql), room, in_hand)

    def deliver(self, held: DeliveryClaim) -> DeliveryState | None:
        """Send one delivery and record the outcome; return its state. Unrecorded, it is sent again after its lease.

        Raises:
            DatabaseDown, StorageFull: the outcome could not be recorded within the lease, or before the process ends.
        """
        over_at = time.monotonic() + deliveries.LEASE_S
        body = write_body(held)
        answer = self.poster.post(held.url, signature.headers(held.secrets, held.id, held.now, body), body)
        state = self._note(held, answer, over_at)
        log.info("webhook.tried", webhook=held.webhook_id, delivery=held.id, attempt=held.attempt, state=state,
                 status=answer.status, error=answer.error, duration_ms=answer.duration_ms)  # fmt: skip
        return state

    def _note(self, held: DeliveryClaim, answer: Answer, over_at: float) -> DeliveryState | None:
        """Record the outcome, retrying while the lease lasts, so that a short outage causes no second sending."""
        while True:
            try:
                with self.database.begin_core() as sql:
                    return deliveries.note(sql, held, answer, pause_s(held.tries, self.draw), self.database.now(sql))
            except (DatabaseDown, StorageFull):
                if time.monotonic() + NOTE_RETRY_S > over_at or self.ending.wait(NOTE_RETRY_S):
                    raise

    def purge(self) -> int:
        """Delete deliveries past their retention time; return their number."""
        with self.database.begin_core() as sql:
            return deliveries.purge(sql, self.database.now(sql))


def pause_s(tries: int, draw: random.Random) -> float:
    """Return the pause before the next try, after `tries` (from 1) have failed; after the last it is not used."""
    base_s = deliveries.RETRY_AFTER_S[min(tries, len(deliveries.RETRY_AFTER_S)) - 1]
    return base_s * draw.uniform(1, 1 + JITTER)


def write_body(held: DeliveryClaim) -> bytes:
    """Return the body of a delivery: the same bytes at each try."""
    if held.job_id is None:
        return wire.Ping(timestamp=held.happened_at).model_dump_json().encode()
    job = wire.EndedJob(id=held.job_id, status=JobState(held.type.removeprefix("job.")), batch_id=held.batch_id)
    event = wire.JobEnded.model_validate({"type": held.type, "timestamp": held.happened_at, "data": job})
    return event.model_dump_json().encode()
