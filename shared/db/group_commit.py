"""Group commit: writes of one process that want SQLite's write lock at the same time share one transaction.

SQLite lets one write at a time; the others ask again after pauses that grow. Here they stand in line, and whoever is
first takes all who wait along: one commit, and one sync of the disk, for several films (DECISIONS 75).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shared.errors import Unavailable
from shared.greenlets import make_native_lock

MOST: Final = 16
"""Writes in one transaction; gevent's pool has fewer threads."""

Write = Callable[[Any], None]  # Any: what the transaction gives to each write, see `GroupCommit.run`
ChangeAll = Callable[[Sequence[Write], Callable[[], None]], None]
"""Does writes in one transaction; calls its second argument when only the commit is left."""


def _make_closed() -> threading.Lock:
    lock = make_native_lock()
    lock.acquire()
    return lock


@dataclass(slots=True, eq=False)
class _Turn:
    """One write. Its thread waits at `gate` until the write is done, or it is this thread's turn to do what waits."""

    write: Write
    note_commit: Callable[[], None]
    gate: threading.Lock = field(default_factory=_make_closed)
    is_done: bool = False
    error: BaseException | None = None


class GroupCommit:
    """The line of those who want to write; one for each database of a process. For real threads, not for greenlets."""

    def __init__(self) -> None:
        self._guard = make_native_lock()
        self._waiting: deque[_Turn] = deque()
        self._is_led = False

    def run(self, write: Write, change_all: ChangeAll, note_commit: Callable[[], None]) -> None:
        """Do `write` in a transaction, with what else waits; returns when that is committed.

        Where one of several writes fails before the commit nothing is committed, and each has a transaction of its own:
        `write` may be called twice. A commit that failed may have been one, and is not tried again.

        Args:
            note_commit: called when only the commit is left, so that what fails after it may have been committed.

        Raises:
            What `write` raises, or the commit; where the database is away, all who waited raise that.
        """
        own = _Turn(write, note_commit)
        with self._guard:
            self._waiting.append(own)
            is_first, self._is_led = not self._is_led, True
        if not is_first:
            own.gate.acquire()
        if not own.is_done:
            self._lead(own, change_all)
        if own.error is not None:
            raise own.error

    def _lead(self, own: _Turn, change_all: ChangeAll) -> None:
        """Do what waits, `own` first; then let those go on whose writes were done, and the next one lead."""
        with self._guard:
            turns = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
        _change(turns, change_all)
        with self._guard:
            following = self._waiting[0] if self._waiting else None
            self._is_led = following is not None
        for turn in (*turns, *([following] if following else [])):
            if turn is not own:
                turn.gate.release()


def _change(turns: Sequence[_Turn], change_all: ChangeAll) -> None:
    """Each turn is done after it, with its own end."""
    is_for_commit = False

    def note_commit() -> None:
        nonlocal is_for_commit
        is_for_commit = True
        for turn in turns:
            turn.note_commit()

    try:
        change_all([turn.write for turn in turns], note_commit)
    except BaseException as error:  # noqa: BLE001  each thread raises its own
        is_of_one = isinstance(error, Exception) and not isinstance(error, Unavailable) and not is_for_commit
        if is_of_one and len(turns) > 1:
            _change_each(turns, change_all)
            return
        _end(turns, error)
    else:
        _end(turns, None)


def _change_each(turns: Sequence[_Turn], change_all: ChangeAll) -> None:
    """One after the other. Where the database goes away meanwhile the rest is told: each would wait for it in vain."""
    for place, turn in enumerate(turns):
        _change([turn], change_all)
        if isinstance(turn.error, Unavailable):
            _end(turns[place + 1 :], turn.error)
            return


def _end(turns: Sequence[_Turn], error: BaseException | None) -> None:
    for turn in turns:
        turn.is_done, turn.error = True, error
