"""Processes as the chaos harness sees and kills them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.chaos import proc
from tests.chaos.proc import Process


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A child that does nothing."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_a_kill_is_confirmed_and_a_zombie_is_dead(sleeper: subprocess.Popen[bytes]) -> None:
    """A killed child that nobody waited for counts as dead; a second kill kills nobody."""
    found = proc.find(sleeper.pid)
    assert found is not None
    assert found in proc.children(os.getpid())
    assert proc.kill(found) is not None
    assert proc.is_dead(found)
    assert proc.kill(found) is None
    assert found not in proc.children(os.getpid())


def test_a_pid_used_again_is_another_process(sleeper: subprocess.Popen[bytes]) -> None:
    """By its start time the one that was meant is known to be gone, and the other is left alone."""
    found = proc.find(sleeper.pid)
    assert found is not None
    earlier = Process(found.pid, found.started - 1)
    assert proc.is_dead(earlier)
    assert proc.kill(earlier) is None
    assert not proc.is_dead(found)
