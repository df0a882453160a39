"""Runs calls that block or take long outside of gevent's loop, where they would stall all requests of the process.

Under gunicorn's gevent worker they run in gevent's pool of real threads; anywhere else they are plain calls. A
function that runs in a thread must not use objects that belong to its greenlet, such as Flask's `g`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from shared.errors import AppError

T = TypeVar("T")

LONG_BYTES: Final = 4 * 2**20
"""Copying or hashing this much takes milliseconds; less takes hardly longer than a switch of threads."""


def is_under_gevent() -> bool:
    """Whether gevent has patched this process, as it does under gunicorn's gevent worker."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def run_in_thread(function: Callable[[], T]) -> T:
    """Call `function` in a real thread while other greenlets go on; return its result or raise its exception."""
    if not is_under_gevent():
        return function()
    import gevent  # noqa: PLC0415  only where gevent already runs

    outcome: T | AppError = gevent.get_hub().threadpool.apply(_returning_errors, (function,))
    if isinstance(outcome, AppError):
        raise outcome
    return outcome


def run_beside_sql(function: Callable[[], T], *, is_sqlite: bool) -> T:
    """Call a function that blocks: in a real thread, except on SQLite, whose callers run in one already."""
    return function() if is_sqlite else run_in_thread(function)


class SingleFlight(Generic[T]):
    """A call in a real thread that concurrent callers share: while it hangs, it holds one thread, not one per caller.

    The thread is not of gevent's pool, so that it is available where hanging calls have taken all of the pool.

    Args:
        function: called anew by the first caller after the previous call has ended.
        limit_s: no caller waits longer than this.
    """

    def __init__(self, function: Callable[[], T], limit_s: float) -> None:
        self._function, self._limit_s = function, limit_s
        self._thread: Any = None  # gevent's ThreadPool
        self._pending: Any = None  # and AsyncResult

    def ask(self) -> T:
        """Return the shared call's result, or raise its exception.

        Raises:
            TimeoutError: the call takes longer than `limit_s`.
        """
        if not is_under_gevent():
            return self._function()
        from gevent.threadpool import ThreadPool  # noqa: PLC0415  only where gevent already runs

        if self._thread is None:  # not by truth value: an idle pool is false
            self._thread = ThreadPool(1)
        if self._pending is None or self._pending.ready():
            self._pending = self._thread.spawn(_returning_errors, self._function)
        pending = self._pending
        pending.wait(self._limit_s)
        if not pending.ready():
            raise TimeoutError
        outcome: T | AppError = pending.get()
        if isinstance(outcome, AppError):
            raise outcome
        return outcome


def run_where_long(size_bytes: int, function: Callable[[], T]) -> T:
    """Call `function`, in a thread where it copies or hashes more than `LONG_BYTES`."""
    return run_in_thread(function) if size_bytes > LONG_BYTES else function()


def call_later(delay_s: float, function: Callable[[], object]) -> None:
    """Call `function` after a delay, in a greenlet or a thread of its own."""
    if is_under_gevent():
        import gevent  # noqa: PLC0415  as above

        gevent.spawn_later(delay_s, function)
        return
    timer = threading.Timer(delay_s, function)
    timer.daemon = True
    timer.start()


def make_native_lock() -> threading.Lock:
    """Return a lock between real threads, also where gevent has patched `threading`, whose locks are for greenlets."""
    if not is_under_gevent():
        return threading.Lock()
    from gevent import monkey  # noqa: PLC0415  as above

    lock: threading.Lock = monkey.get_original("_thread", "allocate_lock")()
    return lock


def _returning_errors(function: Callable[[], T]) -> T | AppError:
    """Return an expected failure as a value: gevent would also write an exception in the thread to stderr."""
    try:
        return function()
    except AppError as error:
        return error
