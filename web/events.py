"""The use case "follow a job": a stream of its events that resumes from SQL after a reconnect. Knows no Flask."""

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
"""Then the stream ends, and the client reconnects, which checks its key again."""

OPENING: Final = b"retry: 2000\n\n"
"""Sent at once, so that the client receives the headers; sets its reconnection time to 2 s."""

HEARTBEAT: Final = b": still here\n\n"


def follow(resources: Resources, room: WaitingRoom, who: Principal, job_id: str, after: int) -> EventStream | None:
    """Return a stream of the job's events, past and future, after number `after` of the tenant's chain.

    Returns:
        The stream, which must be closed; None if the job has ended and `after` is its last event or a later one.

    Raises:
        JobNotFound: unknown, or of another tenant.
        InvalidRequest: no event has the number `after` yet.
        WaitersFull, TenantWaitersFull: no request can wait just now.
    """
    waiter = room.join(who.tenant, job_id, after)  # before the read, so that no event is missed
    stream = EventStream(room, waiter)
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
    """An iterator over the stream's bytes (server-sent events, WHATWG HTML 9.2), up to the job's last event.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, room: WaitingRoom, waiter: Waiter, clock: Callable[[], float] = time.monotonic) -> None:
        self._room = room
        self._waiter = waiter
        self._clock = clock
        self._ends_at = clock() + LONGEST_STREAM_S
        self._is_open = self._is_over = False

    def begin(self, past: JobEvents, after: int) -> bool:
        """Take the events so far; return False if the job has ended and its last event is not after `after`.

        Raises:
            InvalidRequest: no event has that number yet.
        """
        if after > past.newest_seq:
            fault = "is higher than the number of any event so far"
            raise InvalidRequest(f"Last-Event-ID {fault}.", [("Last-Event-ID", fault)])
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
        """Leave the waiting room; idempotent. The WSGI server calls it at the end of every request."""
        self._room.leave(self._waiter)


def to_bytes(event: wire.JobEvent) -> bytes:
    """Return one event as bytes of the stream; its type is `done` for the job's last event, else `status`."""
    kind = "done" if event.done else "status"
    return f"id: {event.seq}\nevent: {kind}\ndata: {event.model_dump_json()}\n\n".encode()
