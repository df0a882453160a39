"""What our processes have in common, seen from outside: page faults, as the kernel counts them, and how they end."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys

import pytest

FILMS = """
import resource, sys
from shared.processes import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def film():
    return [bytearray(b"x") * (1 << 20) for _ in range(4)]
film()
before = faults()
for _ in range(50):
    film()
print(faults() - before)
"""
"""Fifty times four buffers of a megabyte: 51,200 pages of 4 KiB if each is fetched anew."""


def count_faults(mode: str) -> int:
    """Page faults of a process that handles films of a few megabytes."""
    return int(subprocess.run([sys.executable, "-c", FILMS, mode], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_freed_memory_serves_the_next_film() -> None:
    """With it nearly no page is fetched twice; without it nearly all are."""
    assert count_faults("keep") < 500
    assert count_faults("default") > 5_000


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_process_whose_parent_ended_before_it_could_ask_ends_too() -> None:
    """It has another parent by then, which would never end."""
    code = "from shared.processes import die_with_parent; die_with_parent({}); print('lives')"
    for parent, ended in (("__import__('os').getppid()", 0), ("__import__('os').getppid() + 1", -signal.SIGKILL)):
        ran = subprocess.run([sys.executable, "-c", code.format(parent)], capture_output=True, check=False)
        assert ran.returncode == ended
