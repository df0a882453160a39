"""What is seen of a process tree in /proc."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import repeat

from tests.chaos.keeper import Part
from tests.service import wait_until
from tests.soak.watch import Watch, count_descriptors, resident_mib, tree

GONE = 2**22 + 1
"""Above the largest pid."""

HOLD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import sys; sys.stdin.read()'])"


def test_a_part_is_seen_with_its_children() -> None:
    """Memory and descriptors of both processes; nothing of one that ended."""
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE) as process:
        wait_until(lambda: len(tree(process.pid)) == 2, "a child")
        watch = Watch([Part("web0", [], process=process), Part("worker0", [])], every_s=60)
        watch.look()
        process.stdin.close()
    assert set(watch.samples) == {("web0", "memory_mib"), ("web0", "descriptors")}
    assert watch.samples["web0", "memory_mib"][0].value > 2 * 3
    assert watch.samples["web0", "descriptors"][0].value >= 2 * 3


def test_a_descriptor_that_is_opened_is_counted() -> None:
    """Ten more of our own."""
    before = count_descriptors(os.getpid())
    opened = [os.open(path, os.O_RDONLY) for path in repeat(os.devnull, 10)]
    try:
        assert count_descriptors(os.getpid()) - before == 10
    finally:
        for descriptor in opened:
            os.close(descriptor)


def test_what_has_ended_is_nothing() -> None:
    """No error: processes come and go."""
    assert (resident_mib(GONE), count_descriptors(GONE), tree(GONE)) == (0.0, 0, [GONE])
