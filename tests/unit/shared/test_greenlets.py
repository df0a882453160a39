"""What leaves the loop."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shared import greenlets

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import threading
from shared.errors import JobNotFound
from shared.greenlets import LONG_BYTES, run_in_thread, run_where_long

def ask():
    assert type(threading.current_thread()).__name__ != "_MainThread"
    raise JobNotFound("No such job.")

try:
    run_in_thread(ask)
except JobNotFound as error:
    print(error.detail)
print(run_in_thread(lambda: 7))

def where():
    return threading.get_native_id() == first

first = threading.get_native_id()
print(run_where_long(LONG_BYTES, where), run_where_long(LONG_BYTES + 1, where))
"""


def test_under_gevent_what_takes_long_leaves_the_loop_and_fails_without_a_trace_on_stderr() -> None:
    """Only what is large; and a 404 is no fault of ours: a caller without a key could fill the log with it."""
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (found.stdout, found.stderr) == ("No such job.\n7\nTrue False\n", "")


def test_without_gevent_all_is_just_called() -> None:
    """There is no loop to leave."""
    assert not greenlets.is_under_gevent()
    assert greenlets.run_where_long(greenlets.LONG_BYTES + 1, lambda: 7) == greenlets.run_in_thread(lambda: 7) == 7


def test_a_native_lock_is_no_lock_of_greenlets() -> None:
    """A thread that waits for it stops no loop, and may hold it while another one runs."""
    program = """
from gevent import monkey
monkey.patch_all()
import threading
from shared.greenlets import make_native_lock
print(type(make_native_lock()).__module__, type(threading.Lock()).__module__)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "_thread gevent.thread\n"
    assert type(greenlets.make_native_lock()).__module__ == "_thread"


SHARED = """
from gevent import monkey
monkey.patch_all()
import gevent
from shared.errors import StorageDown
from shared.greenlets import SingleFlight, make_native_lock

lock, calls = make_native_lock(), []

def hang():
    calls.append(1)
    with lock:
        if len(calls) == 2:
            raise StorageDown("away")
        return len(calls)

def ask():
    try:
        return shared.ask()
    except (TimeoutError, StorageDown) as error:
        return type(error).__name__

shared = SingleFlight(hang, 0.2)
lock.acquire()
pool = gevent.get_hub().threadpool
taken = [pool.spawn(lock.acquire) for _ in range(pool.maxsize)]
print(*(task.get() for task in [gevent.spawn(ask) for _ in range(3)]), len(calls))
while not (shared._pending.ready() and all(task.ready() for task in taken)):
    lock.release() if lock.locked() else gevent.sleep(0.01)
lock.release() if lock.locked() else None
print(ask(), ask(), len(calls))
"""


def test_who_asks_meanwhile_shares_one_call_and_waits_for_so_long() -> None:
    """A volume that hangs holds one thread, however many ask whether it is there, and whatever else it holds."""
    found = subprocess.run([sys.executable, "-c", SHARED], capture_output=True, text=True, check=True)
    assert found.stdout == "TimeoutError TimeoutError TimeoutError 1\nStorageDown 3 3\n"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_however_often_it_is_asked_it_has_one_thread() -> None:
    """A pool of its own each time would leave a thread each second."""
    program = """
from gevent import monkey
monkey.patch_all()
import os
from shared.greenlets import SingleFlight
shared, threads = SingleFlight(os.getpid, 60.0), []
for _ in range(20):
    shared.ask()
    threads.append(len(os.listdir("/proc/self/task")))
print(threads[-1] - threads[0])
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "0\n"


def test_without_gevent_it_is_just_called() -> None:
    """Each time."""
    assert greenlets.SingleFlight(lambda: 7, 0.0).ask() == 7


@pytest.mark.parametrize(("is_sqlite", "place"), [(True, "the loop"), (False, "a thread")])
def test_what_blocks_leaves_the_loop_where_sql_does_not(*, is_sqlite: bool, place: str) -> None:
    """On SQLite the caller has left it before."""
    program = f"""
from gevent import monkey
monkey.patch_all()
import threading
from shared.greenlets import run_beside_sql
ours = threading.get_native_id()
where = run_beside_sql(threading.get_native_id, is_sqlite={is_sqlite})
print("the loop" if where == ours else "a thread")
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == place
