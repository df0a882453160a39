"""The waiting line for intake: a web process reads and decodes the bodies of a few films at a time.

The body of a film in the line has not been read: TCP flow control leaves its bytes with the client. So a burst of
films takes neither memory nor the decoder's own waiting line, which refuses films once it is full. Knows no Flask.

A film has a seat from before its body is read until its job is committed. A body that arrives slowly loses its seat
but goes on: otherwise a few slow connections could keep all other films out. Once it is there its film takes a seat
again, before its tenant's other films: it holds memory, and only films with a seat come to the decoder.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from shared.errors import DecoderBusy
from shared.greenlets import call_later

PLACES: Final = 4000
"""Of all tenants; one has half of them at most."""

LONGEST_WAIT_S: Final = 20.0
PROMPT_S: Final = 0.05
"""A body that takes longer to arrive loses its seat: slow clients, too, keep a core busy, with 40 films a second."""


@dataclass(slots=True, eq=False)
class Turn:
    """A film's turn, for `Intake` alone.

    Attributes:
        has_seat: from when a seat is granted until it is released.
        is_read: its body is in memory.
        reads_since: when it began to read its body, by `time.monotonic`; infinite while it does not.
    """

    tenant: str
    is_urgent: bool
    has_seat: bool = False
    is_read: bool = False
    reads_since: float = math.inf
    granted: threading.Event = field(default_factory=threading.Event)


class Intake:
    """Grants seats: urgent films first, then one film of each tenant in turn; of a tenant's those that were read first.

    Args:
        seats: films that are read and decoded at a time.
        places: films that may wait; of one tenant no more than there are free places, so that others find one.
        longest_wait_s: how long one may wait.
        prompt_s: how long a film's body may take to arrive before it loses its seat.
    """

    def __init__(
        self,
        seats: int,
        places: int = PLACES,
        longest_wait_s: float = LONGEST_WAIT_S,
        prompt_s: float = PROMPT_S,
    ) -> None:
        self._seats, self._free_places = seats, places
        self._longest_wait_s, self._prompt_s = longest_wait_s, prompt_s
        self._guard = threading.Lock()
        self._seated: set[Turn] = set()
        self._is_watching = False
        self._lines: tuple[dict[str, deque[Turn]], dict[str, deque[Turn]]] = ({}, {})
        """Urgent films and others, by tenant; the first tenant is the next one."""

    @contextmanager
    def seat(self, tenant: str, *, is_urgent: bool) -> Iterator[Turn]:
        """Wait for a seat and hold it.

        Raises:
            DecoderBusy: the line has no place left for the tenant, or the wait took too long.
        """
        turn = Turn(tenant, is_urgent)
        try:
            self._take(turn)
            yield turn
        finally:
            self._release(turn)

    @contextmanager
    def reading(self, turn: Turn) -> Iterator[None]:
        """Let the seat go to another film if the block, which reads the body, takes long; take one again after it.

        Raises:
            DecoderBusy: the second wait took too long.
        """
        turn.reads_since = time.monotonic()
        try:
            yield
        finally:
            turn.reads_since = math.inf
        turn.is_read = True
        if not turn.has_seat:
            turn.granted.clear()
            self._take(turn)

    def _take(self, turn: Turn) -> None:
        with self._guard:
            if len(self._seated) < self._seats:  # then nobody waits
                self._grant(turn)
                return
            if not turn.is_read and self._count_waiting(turn.tenant) >= self._free_places:
                raise DecoderBusy("Too many films are being sent at once; send it again in a moment.")
            self._free_places -= 1
            self._join_line(turn)
            self._watch()
        try:
            turn.granted.wait(self._longest_wait_s)
        finally:
            self._leave_line(turn)
        if not turn.has_seat:
            raise DecoderBusy("The film waited too long to be read; send it again in a moment.")

    def _count_waiting(self, tenant: str) -> int:
        return sum(len(line.get(tenant, ())) for line in self._lines)

    def _join_line(self, turn: Turn) -> None:
        turns = self._line_of(turn).setdefault(turn.tenant, deque())
        turns.insert(sum(other.is_read for other in turns) if turn.is_read else len(turns), turn)

    def _leave_line(self, turn: Turn) -> None:
        with self._guard:
            self._free_places += 1
            if not turn.has_seat:
                self._remove(turn)

    def _watch(self) -> None:
        """While films wait: look for slow bodies, twice in the time that a body has."""
        if not self._is_watching:
            self._is_watching = True
            call_later(self._prompt_s / 2, self._end_slow)

    def _end_slow(self) -> None:
        with self._guard:
            self._is_watching = False
            long_ago = time.monotonic() - self._prompt_s
            for turn in [turn for turn in self._seated if turn.reads_since < long_ago]:
                self._give_seat_on(turn)
            if any(self._lines):
                self._watch()

    def _release(self, turn: Turn) -> None:
        with self._guard:
            if turn.has_seat:
                self._give_seat_on(turn)

    def _give_seat_on(self, turn: Turn) -> None:
        self._seated.remove(turn)
        turn.has_seat = False
        line = next(filter(None, self._lines), None)
        if line:
            following = line[next(iter(line))][0]
            self._remove(following)
            self._grant(following)

    def _grant(self, turn: Turn) -> None:
        self._seated.add(turn)
        turn.has_seat = True
        turn.granted.set()

    def _remove(self, turn: Turn) -> None:
        """Remove a waiting turn, and put its tenant behind the others."""
        line = self._line_of(turn)
        turns = line.pop(turn.tenant)
        turns.remove(turn)
        if turns:
            line[turn.tenant] = turns

    def _line_of(self, turn: Turn) -> dict[str, deque[Turn]]:
        return self._lines[0 if turn.is_urgent else 1]


def count_seats(decoders: int | None) -> int:
    """Return a process's seats for its number of decoder children, None for one a core.

    They are enough that decoders and disk never wait for a body, and fewer than may wait for the decoder (64 and its
    children), which so refuses none.
    """
    return min(48, 4 + 4 * (decoders or os.cpu_count() or 1))
