"""Out of gevent's loop: what blocks or takes long would stall every other request of the process.

Under gunicorn's gevent worker it runs in gevent's real thread pool; anywhere else it is just called. What runs in a
thread must not touch what belongs to its greenlet, such as Flask's `g`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from shared.errors import AppError

T = TypeVar("T")

LONG_BYTES: Final = 4 * 2**20
"""To copy or hash so much takes milliseconds; less takes hardly longer than the turn of a thread."""


def is_under_gevent() -> bool:
    """Whether gevent has patched this process, as gunicorn's worker lets it."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def run_in_thread(function: Callable[[], T]) -> T:
    """Call `function` in a real thread while other greenlets go on; its result or exception is the caller's."""
    if not is_under_gevent():
        return function()
    import gevent  # noqa: PLC0415  only where gevent already runs

    found: T | AppError = gevent.get_hub().threadpool.apply(_returning_errors, (function,))
    if isinstance(found, AppError):
        raise found
    return found


def run_beside_sql(function: Callable[[], T], *, is_sqlite: bool) -> T:
    """Call what blocks by itself from where a database is spoken to: on SQLite that is in a thread already."""
    return function() if is_sqlite else run_in_thread(function)


class SingleFlight(Generic[T]):
    """A call in a real thread that all who ask meanwhile share: whatever it hangs on holds one thread, not one each.

    That thread is its own, so that it is there where whatever hangs has taken all of the others.

    Args:
        function: called anew for the first who asks after it has ended.
        limit_s: nobody waits for longer.
    """

    def __init__(self, function: Callable[[], T], limit_s: float) -> None:
        self._function, self._limit_s = function, limit_s
        self._thread: Any = None  # gevent's ThreadPool
        self._pending: Any = None  # and AsyncResult

    def ask(self) -> T:
        """Its result or exception.

        Raises:
            TimeoutError: it takes longer than that.
        """
        if not is_under_gevent():
            return self._function()
        from gevent.threadpool import ThreadPool  # noqa: PLC0415  only where gevent already runs

        if self._thread is None:  # one that has nothing to do is false
            self._thread = ThreadPool(1)
        if self._pending is None or self._pending.ready():
            self._pending = self._thread.spawn(_returning_errors, self._function)
        pending = self._pending
        pending.wait(self._limit_s)
        if not pending.ready():
            raise TimeoutError
        found: T | AppError = pending.get()
        if isinstance(found, AppError):
            raise found
        return found


def run_where_long(size_bytes: int, function: Callable[[], T]) -> T:
    """`run_in_thread` where so many bytes are copied or hashed that others would wait for it."""
    return run_in_thread(function) if size_bytes > LONG_BYTES else function()


def make_native_lock() -> threading.Lock:
    """A lock between real threads, where gevent has patched `threading` too: its own belong to greenlets."""
    if not is_under_gevent():
        return threading.Lock()
    from gevent import monkey  # noqa: PLC0415  as above

    lock: threading.Lock = monkey.get_original("_thread", "allocate_lock")()
    return lock


def _returning_errors(function: Callable[[], T]) -> T | AppError:
    """An expected failure goes back as a value: what is raised in that thread gevent writes to stderr as well."""
    try:
        return function()
    except AppError as error:
        return error
