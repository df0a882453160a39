"""Settings of all our processes: none outlives its parent, and freed memory is kept for the next film."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from typing import Final

PR_SET_PDEATHSIG = 1
"""prctl(2), Linux only."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""mallopt(3), glibc only."""

KEPT_BYTES: Final = 64 << 20
"""Free memory that a process keeps at the end of its heap."""
LARGEST_KEPT_BYTES: Final = 16 << 20
"""A buffer up to this size comes from kept memory; a film of 4096 x 4096 at 8 bits is one."""
ARENAS: Final = 2
"""Each arena keeps memory of its own; our threads take turns at the interpreter's lock, so two are as fast as many."""


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when its parent ends, for whatever reason; a no-op outside Linux.

    Args:
        parent: the parent's pid, where the caller knows it: the parent may end before this call.
    """
    if sys.platform != "linux":
        return
    parent = parent or os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent ended before the call above
        os.kill(os.getpid(), signal.SIGKILL)


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next film; a no-op where it is not glibc.

    By default a buffer of a megabyte is returned to the kernel at once, and each of its 256 pages costs a page fault
    for the next film: copying one film's pixels took 1.7 ms of CPU instead of .07 (DECISIONS 22).
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        mallopt(M_ARENA_MAX, ARENAS)
