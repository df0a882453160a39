"""Keeps the parts of a service running for `shared/up.py`: restarts one that dies, stops all at the end.

Each part is a child in a process group of its own that the kernel ends with this process, so that neither Ctrl-C
nor a kill of the supervisor leaves a process behind. A part's output goes to a log file in `home`/logs, which is
rotated when it is long.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from shared import private_files
from shared.processes import die_with_parent

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
STEADY_S = 60.0
"""The backoff of a part that lived longer than this is reset."""

STOP_GRACE_S = 28.0
"""A worker waits 25 s for its running batch before it exits by itself."""

TICK_S = 0.2

LOG_BYTES = 16 * 2**20
OLD_LOGS = 3
"""A part's log is <name>.log and this many older files, of which <name>.log.1 is the newest."""

Say = Callable[[str], None]


@dataclass(slots=True)
class Part:
    """One child process and the state of its restarts.

    Attributes:
        name: in messages and of its log file.
        command: argument vector.
        environment: added to the supervisor's.
        longest_pause_s: upper limit of the backoff before a restart.
        descriptors: the supervisor's file descriptors that the child inherits under the same numbers.
        ends_last: the other parts use this one until they have ended.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    longest_pause_s: float = LONGEST_PAUSE_S
    descriptors: Sequence[int] = ()
    ends_last: bool = False
    process: subprocess.Popen[bytes] | None = None
    pause_s: float = FIRST_PAUSE_S
    started_at: float = 0.0
    start_again_at: float = 0.0

    def start(self, logs: Path) -> None:
        """Start the process, its output appended to `logs`/<name>.log."""
        private_files.make_folder(logs)
        with (logs / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603  our own commands
                self.command,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self.descriptors,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  this process has no other thread
            )

    def signal(self, number: int) -> None:
        """Send a signal to the part's whole process group."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)


class Supervisor:
    """Keeps parts running until told to stop.

    Args:
        logs: folder of the parts' output.
        say: prints a line for the person at the terminal.
        clock: seconds that only rise.
    """

    def __init__(self, logs: Path, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self._logs = logs
        self._say = say
        self._clock = clock
        self._parts: list[Part] = []
        self._is_stopping = False

    def add(self, part: Part) -> None:
        """Start a part and keep it running from now on."""
        self._start(part)
        self._parts.append(part)

    def watch(self) -> None:
        """Restart parts that die, until `request_stop`."""
        while not self._is_stopping:
            for part in self._parts:
                self._tend(part)
                with suppress(OSError):  # a log that cannot be rotated stops nothing
                    rotate_log(self._logs / f"{part.name}.log")
            multiprocessing.active_children()  # reaps children that have ended
            time.sleep(TICK_S)

    def stop(self) -> None:
        """End all parts: SIGTERM to all at once, SIGKILL after `STOP_GRACE_S`; then likewise those that end last."""
        for ends_last in (False, True):
            self._stop([part for part in self._parts if part.ends_last is ends_last])

    def _stop(self, parts: Sequence[Part]) -> None:
        for part in parts:
            part.signal(signal.SIGTERM)
        give_up_at = time.monotonic() + STOP_GRACE_S
        for part in parts:
            if part.process is None:
                continue
            try:
                part.process.wait(max(0.0, give_up_at - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._say(f"{part.name} did not end in {STOP_GRACE_S:.0f} s; killed")
            _kill_group(part.process.pid)
            part.process.wait()

    def request_stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """Let `watch` return; usable as a signal handler."""
        self._is_stopping = True

    def _start(self, part: Part) -> None:
        part.start(self._logs)
        part.started_at = self._clock()

    def _tend(self, part: Part) -> None:
        if part.process is None:
            if self._clock() >= part.start_again_at:
                try:
                    self._start(part)
                except OSError as error:  # e.g. no memory for a process just now: the other parts go on
                    self._start_later(part, f"cannot be started: {error.strerror or error}")
            return
        status = part.process.poll()
        if status is None:
            return
        _kill_group(part.process.pid)
        if self._clock() - part.started_at > STEADY_S:
            part.pause_s = FIRST_PAUSE_S
        self._start_later(part, f"ended with status {status}")

    def _start_later(self, part: Part, why: str) -> None:
        self._say(f"{part.name} {why}; starting it again in {part.pause_s:.1f} s "
                  f"(log: {self._logs / part.name}.log)")  # fmt: skip
        part.process, part.start_again_at = None, self._clock() + part.pause_s
        part.pause_s = min(2 * part.pause_s, part.longest_pause_s)


def rotate_log(log: Path, most_bytes: int = LOG_BYTES) -> None:
    """Rotate a log that is longer than `most_bytes`: copy it, then truncate it, since the part keeps it open.

    Lines that the part writes between copy and truncation, one or two, are lost; on a full disk the copy is.
    """
    if not log.exists() or log.stat().st_size <= most_bytes:
        return
    old_logs = [log.with_name(f"{log.name}.{number}") for number in range(1, OLD_LOGS + 1)]
    for newer, older in zip(reversed(old_logs[:-1]), reversed(old_logs[1:]), strict=True):
        if newer.exists():
            newer.replace(older)
    with suppress(OSError):
        shutil.copyfile(log, old_logs[0])
    os.truncate(log, 0)


def _kill_group(group: int) -> None:
    """Kill the processes that are left of a part's process group after its leader ended."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
