"""What a tree of processes uses: `tests/bench/tree.py`, on processes of our own."""

from __future__ import annotations

import subprocess
import sys

from tests.bench import tree
from tests.bench.tree import Tree

BUSY = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {BUSY!r}, "busy-part"])
print("done", flush=True)
sys.stdin.read()
"""


def test_the_time_of_ended_children_is_counted() -> None:
    """A decoder forks once a film: what its children used stays in the sum, in the part of who waited for them."""
    command = [sys.executable, "-c", PARENT, "parent-part"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        watched = Tree([process.pid], {"parent-part": "parent"})
        process.stdout.readline()
        cpu, memory, share = watched.cpu_s(), watched.rss_bytes(), watched.pss_bytes()
        process.stdin.close()
    assert cpu.keys() == memory.keys() == {"parent"}
    assert cpu["parent"] >= 0.2
    assert memory["parent"] > 2**20
    assert 0 < share["parent"] < memory["parent"], "its libraries are shared with this process"


def test_a_process_that_is_gone_counts_nothing() -> None:
    """No error, no number."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert Tree([process.pid]).cpu_s() == {}


def test_what_was_used_is_the_difference() -> None:
    """A part that came later starts at nothing."""
    assert tree.used({"web": 1.0}, {"web": 3.0, "worker": 2.0}) == {"web": 2.0, "worker": 2.0}
