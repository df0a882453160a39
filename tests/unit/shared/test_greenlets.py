"""What leaves the loop."""

from __future__ import annotations

import subprocess
import sys

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
