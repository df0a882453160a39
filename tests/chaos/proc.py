"""Processes as /proc shows them: who lives, who is whose child, and a kill that is confirmed. Linux only."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

CONFIRM_WAIT_S = 5.0
_PARENT, _STARTED = 1, 19
"""Places of the parent's pid and of the start time behind the command's name in /proc/<pid>/stat."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process by pid and start time (clock ticks since boot), so that a pid used again is not taken for it."""

    pid: int
    started: int


def end_on_sigterm() -> None:
    """Let SIGTERM end this program as an error would: what it started is stopped, its folders go, once."""
    signal.signal(signal.SIGTERM, _end)


def _end(number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + number)


def find(pid: int) -> Process | None:
    """The living process of this pid, or None."""
    fields = _fields(pid)
    return None if fields is None or fields[0] in "ZX" else Process(pid, int(fields[_STARTED]))


def is_dead(process: Process) -> bool:
    """True once it has ended; a zombie has."""
    return find(process.pid) != process


def is_stopped(process: Process) -> bool:
    """Whether it stands still by a signal, all its threads with it; a dead one does not."""
    fields = _fields(process.pid)
    return find(process.pid) == process and fields is not None and fields[0] == "T"


def children(pid: int) -> list[Process]:
    """The living children of `pid`, the oldest first."""
    found = [process for child in _pids() if (process := _child_of(child, pid))]
    return sorted(found, key=lambda process: (process.started, process.pid))


def send(process: Process, number: int) -> bool:
    """Send a signal; False where it has ended."""
    if is_dead(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def kill(process: Process) -> float | None:
    """SIGKILL, then wait until it is dead.

    Returns:
        The wall time at which the death was confirmed; None where it had ended before, or did not end in time.
    """
    return confirm_death(process) if send(process, signal.SIGKILL) else None


def confirm_death(process: Process, wait_s: float = CONFIRM_WAIT_S) -> float | None:
    """Wall time at which it was seen dead; None where it lives on."""
    give_up_at = time.monotonic() + wait_s
    while not is_dead(process):
        if time.monotonic() > give_up_at:
            return None
        time.sleep(0.005)
    return time.time()


def _pids() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]


def _child_of(pid: int, parent: int) -> Process | None:
    fields = _fields(pid)
    if fields is None or fields[0] in "ZX" or int(fields[_PARENT]) != parent:
        return None
    return Process(pid, int(fields[_STARTED]))


def _fields(pid: int) -> list[str] | None:
    """What follows the command's name, which may hold blanks and brackets: the state first."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rsplit(")", 1)[1].split()
