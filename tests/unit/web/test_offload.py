"""Calls in gevent's thread pool fail as if they had been made here."""

from __future__ import annotations

import subprocess
import sys

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


def test_an_expected_failure_leaves_no_trace_on_stderr() -> None:
    """A 404 is no fault of ours; a caller without a key could fill the log with it."""
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (found.stdout, found.stderr) == ("No such job.\n7\n", "")
