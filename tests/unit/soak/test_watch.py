"""What is seen of a process tree in /proc."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from itertools import repeat

from tests.chaos.keeper import Part
from tests.soak.__main__ import unseen
from tests.soak.watch import Watch, count_descriptors, count_threads, resident_mib, tree
from tests.waiting import wait_until

GONE = 2**22 + 1
"""Above the largest pid."""

HOLD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import sys; sys.stdin.read()'])"


def test_a_part_is_seen_with_its_children() -> None:
    """Memory, threads and descriptors of both processes; nothing of one that ended."""
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE) as process:
        wait_until(lambda: len(tree(process.pid)) == 2, "a child")
        watch = Watch([Part("web0", [], process=process), Part("worker0", [])], every_s=60)
        watch.look()
        process.stdin.close()
    assert set(watch.samples) == {("web0", "memory_mib"), ("web0", "descriptors"), ("web0", "threads")}
    assert watch.samples["web0", "threads"][0].value == 2
    assert watch.samples["web0", "memory_mib"][0].value > 2 * 3
    assert watch.samples["web0", "descriptors"][0].value >= 2 * 3


REPLACE = """
import subprocess, sys
for line in sys.stdin:
    child = subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'], stdin=subprocess.PIPE)
    print(child.pid, flush=True)
    sys.stdin.readline()
    child.kill(); child.wait()
"""


def test_a_child_that_is_replaced_has_died() -> None:
    """Its part lives on, and has another child at the last look."""
    with subprocess.Popen([sys.executable, "-c", REPLACE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        watch = Watch([Part("worker0", [], process=process)], every_s=60)
        process.stdin.write(b"\n")
        process.stdin.flush()
        first = int(process.stdout.readline())
        watch.look()
        watch.look()
        assert watch.died() == []
        process.stdin.write(b"\n\n")
        process.stdin.flush()
        process.stdout.readline()
        watch.look()
        process.stdin.close()
    assert watch.died() == [f"a process of worker0 child ended (pid {first})"]


def test_who_was_not_seen_was_not_judged() -> None:
    """Nothing grows where nothing was looked at; that is no pass."""
    nothing = Watch([], every_s=60)
    found = unseen(["web0"], ["worker0"], nothing)
    assert "no memory_mib of worker0 was seen" in found
    assert "no descriptors of web0 decoder was seen" in found
    assert len(found) == 9


def test_a_descriptor_that_is_opened_is_counted() -> None:
    """Ten more of our own."""
    gc.collect()  # what other tests left open is not closed meanwhile
    before = count_descriptors(os.getpid())
    opened = [os.open(path, os.O_RDONLY) for path in repeat(os.devnull, 10)]
    try:
        assert count_descriptors(os.getpid()) - before == 10
    finally:
        for descriptor in opened:
            os.close(descriptor)


def test_what_has_ended_is_nothing() -> None:
    """No error: processes come and go."""
    assert (resident_mib(GONE), count_descriptors(GONE), count_threads(GONE), tree(GONE)) == (0.0, 0, 0, [GONE])
