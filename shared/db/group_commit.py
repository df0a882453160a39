"""Group commit: writes of one process that wait for SQLite's write lock at the same time share one transaction.

SQLite lets one write at a time; the others ask again after pauses that grow. Here they stand in line, and whoever is
next takes all who wait along: one commit, and one sync of the disk, for several films (DECISIONS 75).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.errors import Unavailable
from shared.greenlets import make_native_lock

MOST: Final = 16
"""Writes in one transaction; as many threads as gevent's pool has, and some."""

Write = Callable[[Any], None]  # Any: what the transaction gives to each write, see `GroupCommit.run`
ChangeAll = Callable[[Sequence[Write], Callable[[], None]], None]
"""Runs writes in one transaction; calls its second argument when all are done and only the commit is left."""


@dataclass(slots=True, eq=False)
class _Turn:
    write: Write
    is_done: bool = False
    error: BaseException | None = None


class GroupCommit:
    """The line of those who want to write; one for each database of a process. For real threads, not for greenlets."""

    def __init__(self) -> None:
        self._waiting: deque[_Turn] = deque()
        self._turn = make_native_lock()

    def run(self, write: Write, change_all: ChangeAll) -> None:
        """Do `write` in a transaction, with what else waits; returns when that is committed.

        Where one of several writes fails nothing is committed, and each has a transaction of its own: `write` may be
        called twice. A commit that failed may have been one: it is not tried again.

        Raises:
            What `write` raises, or the commit; where the database is away, what all of them raise.
        """
        own = _Turn(write)
        self._waiting.append(own)
        with self._turn:
            while not own.is_done:
                self._change([self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))], change_all)
        if own.error is not None:
            raise own.error

    def _change(self, turns: Sequence[_Turn], change_all: ChangeAll) -> None:
        is_for_commit, error = False, None

        def note_commit() -> None:
            nonlocal is_for_commit
            is_for_commit = True

        try:
            change_all([turn.write for turn in turns], note_commit)
        except BaseException as failed:  # noqa: BLE001  each thread raises its own
            error = failed
        is_of_one = isinstance(error, Exception) and not isinstance(error, Unavailable) and not is_for_commit
        if is_of_one and len(turns) > 1:
            for turn in turns:
                self._change([turn], change_all)
        else:
            for turn in turns:
                turn.is_done, turn.error = True, error
