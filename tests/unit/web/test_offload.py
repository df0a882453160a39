"""What is called out of the loop, and how much of it at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from web import offload

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import threading
from shared.errors import JobNotFound
from web.offload import run_in_thread

def ask():
    assert type(threading.current_thread()).__name__ != "_MainThread"
    raise JobNotFound("No such job.")

try:
    run_in_thread(ask)
except JobNotFound as error:
    print(error.detail)
print(run_in_thread(lambda: 7))
"""


def test_no_more_drawings_at_once_than_cores() -> None:
    """Each has the memory of a film; the others wait, and all come to their end."""
    cores, lock, running, most = os.cpu_count() or 1, threading.Lock(), 0, 0

    def drawing() -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return 7

    with ThreadPoolExecutor(3 * cores) as pool:
        drawn = list(pool.map(lambda _: offload.draw(drawing), range(3 * cores)))
    assert drawn == [7] * (3 * cores)
    assert most == cores


def test_an_expected_failure_leaves_no_trace_on_stderr() -> None:
    """A 404 is no fault of ours; a caller without a key could fill the log with it."""
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (found.stdout, found.stderr) == ("No such job.\n7\n", "")
