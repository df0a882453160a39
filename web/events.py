"""The use case "follow a job": its events as a stream that resumes from SQL after any reconnect. Knows no Flask."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from shared import wire
from shared.db import event_queries
from shared.db.event_queries import JobEvents
from shared.db.keys import Principal
from shared.errors import InvalidRequest
from shared.wiring import Resources
from web.offload import read
from web.waiting import Waiter, WaitingRoom

HEARTBEAT_S: Final = 15.0
LONGEST_STREAM_S: Final = 600.0
"""Then the stream ends and the client connects again, which checks its key again."""

OPENING: Final = b"retry: 2000\n\n"
"""Sent at once, so that the client sees the headers; it connects again after 2 s."""

HEARTBEAT: Final = b": still here\n\n"


def follow(resources: Resources, room: WaitingRoom, who: Principal, job_id: str, after: int) -> EventStream | None:
    """The job's events that come after number `after` of the tenant's chain, past and future.

    Returns:
        The stream, which must be closed; None where the job has ended and `after` is its last event or later.

    Raises:
        JobNotFound: unknown, or of another tenant.
        InvalidRequest: no event has the number `after` yet.
        WaitersFull, TenantWaitersFull: nobody can listen just now.
    """
    stream = EventStream(room, room.join(who.tenant, job_id, after))  # before the look, so that nothing falls between
    try:
        past = read(resources.database, lambda sql: event_queries.get_events(sql, who.tenant, job_id))
        has_more = stream.begin(past, after)
    except BaseException:
        stream.close()
        raise
    if not has_more:
        stream.close()
        return None
    return stream


class EventStream:
    """An iterator of a stream's bytes; ends after the job's last event, in the form of WHATWG HTML 9.2.

    Args:
        clock: seconds that only rise.
    """

    def __init__(self, room: WaitingRoom, waiter: Waiter, clock: Callable[[], float] = time.monotonic) -> None:
        self._room = room
        self._waiter = waiter
        self._clock = clock
        self._ends_at = clock() + LONGEST_STREAM_S
        self._is_open = self._is_over = False

    def begin(self, past: JobEvents, after: int) -> bool:
        """Take what happened so far; False where the job's last event is not after number `after`.

        Raises:
            InvalidRequest: no event has that number yet.
        """
        if after > past.newest_seq:
            told = "is the number of an event that is yet to come"
            raise InvalidRequest(f"Last-Event-ID {told}.", [("Last-Event-ID", told)])
        self._waiter.give(past.events)
        last = past.events[-1]
        return not last.done or last.seq > after

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._is_open:
            self._is_open = True
            return OPENING
        if self._is_over or self._room.is_ending or self._clock() >= self._ends_at:
            self.close()
            raise StopIteration
        events = self._waiter.next(min(HEARTBEAT_S, self._ends_at - self._clock()))
        self._is_over = any(event.done for event in events)
        return b"".join(map(to_bytes, events)) or HEARTBEAT

    def close(self) -> None:
        """Wait no longer; idempotent. The server calls it however the request ends."""
        self._room.leave(self._waiter)


def to_bytes(event: wire.JobEvent) -> bytes:
    """One event of the stream; its type is `done` for the job's last one, else `status`."""
    kind = "done" if event.done else "status"
    return f"id: {event.seq}\nevent: {kind}\ndata: {event.model_dump_json()}\n\n".encode()
