"""Group commit: writes of one process that come at the same time share one transaction.

SQLite lets one write at a time; the others ask again after pauses that grow. On PostgreSQL they wait for the lock of
their tenant's audit chain. Here they queue, and the first of them does the writes of all that wait with its own: one
commit, one link of the chain, and one sync of the disk, for several films (DECISIONS 75 and 95).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from shared.errors import Unavailable

MOST: Final = 16
"""Writes in one transaction."""


class Transaction(Protocol):
    """An open transaction, which is committed at the end of its block."""

    is_for_commit: bool
    """True once only the COMMIT is left: if that fails, the transaction may have been committed or not."""


Write = Callable[[Any], None]  # Any: the transaction, as its database gives it
Begin = Callable[[], AbstractContextManager[Transaction]]


@dataclass(slots=True, eq=False)
class _PendingWrite:
    """One write. Its thread waits for `done_or_leading`, which is released when the write is done or the thread leads.

    Attributes:
        done_or_leading: closed at first.
        leads: its thread is to do the waiting writes.
        error: raised to its thread, once it is done.
    """

    write: Write
    done_or_leading: threading.Lock
    leads: bool = False
    is_done: bool = False
    error: BaseException | None = None


class GroupCommit:
    """The queue of writes; one for each database of a process.

    Args:
        make_lock: makes a lock between those who call `run`, which are real threads or greenlets.
    """

    def __init__(self, make_lock: Callable[[], threading.Lock]) -> None:
        self._make_lock, self._guard = make_lock, make_lock()
        self._waiting: deque[_PendingWrite] = deque()
        self._is_led = False

    def run(self, write: Write, begin: Begin) -> None:
        """Do `write` in a transaction, together with the writes that wait; return when that is committed.

        If one write of the group fails before the COMMIT, the group is rolled back and each write is done again in its
        own transaction, so `write` may run twice, and in another thread. A failed COMMIT is not tried again.

        Raises:
            Exception: what `write` or the COMMIT raised; if the database is away, every waiting write raises that.
        """
        own = _PendingWrite(write, self._make_lock())
        own.done_or_leading.acquire()
        with self._guard:
            self._waiting.append(own)
            is_first, self._is_led = not self._is_led, True
        if not is_first:
            self._wait(own)
        if not own.is_done:
            self._lead(own, begin)
        if own.error is not None:
            raise own.error

    def _wait(self, own: _PendingWrite) -> None:
        try:
            own.done_or_leading.acquire()
        except BaseException:  # a greenlet that is ended; its write may have been done
            with self._guard:
                if own in self._waiting:
                    self._waiting.remove(own)
                if own.leads:
                    self._pass_on()
            raise

    def _lead(self, own: _PendingWrite, begin: Begin) -> None:
        """Do the waiting writes, `own` first; then release their threads, and the next one to lead."""
        with self._guard:
            group = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
        _change(group, begin)
        for pending in group:
            if pending is not own:
                pending.done_or_leading.release()
        with self._guard:
            self._pass_on()

    def _pass_on(self) -> None:
        """Let the first waiting write lead."""
        self._is_led = bool(self._waiting)
        if self._waiting:
            self._waiting[0].leads = True
            self._waiting[0].done_or_leading.release()


def _change(group: Sequence[_PendingWrite], begin: Begin) -> None:
    """Do these in one transaction, or if one of them fails each in its own; each is done afterwards."""
    transaction: Transaction | None = None
    try:
        with begin() as transaction:
            for pending in group:
                pending.write(transaction)
    except BaseException as error:  # noqa: BLE001  each thread raises its own
        is_for_commit = transaction is not None and transaction.is_for_commit
        can_retry_alone = isinstance(error, Exception) and not isinstance(error, Unavailable) and not is_for_commit
        if can_retry_alone and len(group) > 1:
            _change_each(group, begin)
        else:
            _end(group, error)
    else:
        _end(group, None)


def _change_each(group: Sequence[_PendingWrite], begin: Begin) -> None:
    """One after the other. If the database goes away meanwhile, the rest fail too: each would wait for it in vain."""
    for place, pending in enumerate(group):
        _change([pending], begin)
        if isinstance(pending.error, Unavailable):
            _end(group[place + 1 :], pending.error)
            return


def _end(group: Sequence[_PendingWrite], error: BaseException | None) -> None:
    for pending in group:
        pending.is_done, pending.error = True, error
