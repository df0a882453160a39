"""Samples memory, threads and file descriptors of web servers, decoders and workers from /proc. Linux only."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.chaos import proc
from tests.chaos.keeper import Part
from tests.chaos.proc import Process
from tests.soak.verdict import Sample

DECODER = b"shared.imaging.decoder_process"
MIB = 1 << 20
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Watch(threading.Thread):
    """A thread that samples until `close`.

    Args:
        parts: the web servers and workers; what they started counts with them, decoders apart.
        every_s: seconds between two samples.

    Attributes:
        samples: by (role, quantity); roles are parts by name, and 'decoder' behind the web server's.
        sightings: of each process that is to live on, by role: at how many looks it was seen. What a part started is
            'child' behind its name; a decoder's own children come and go with films.
    """

    def __init__(self, parts: Sequence[Part], every_s: float) -> None:
        super().__init__(name="watch", daemon=True)
        self.samples: dict[tuple[str, str], list[Sample]] = defaultdict(list)
        self.sightings: dict[str, Counter[Process]] = defaultdict(Counter)
        self._last: set[Process] = set()
        self._parts, self._every_s = parts, every_s
        self._over = threading.Event()
        self._began = time.monotonic()

    def run(self) -> None:
        """Look again and again."""
        while not self._over.wait(self._every_s):
            self.look()

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()

    def look(self) -> None:
        """One sample of each role, and one sighting of each process."""
        at_s, self._last = time.monotonic() - self._began, set()
        for part in self._parts:
            running = part.process  # which its keeper may take away meanwhile
            if running is None:
                continue
            for role, processes in standing(part.name, running.pid).items():
                self.sightings[role].update(processes)
                self._last.update(processes)
            for role, pids in split(part.name, tree(running.pid)).items():
                self.samples[role, "memory_mib"].append(Sample(at_s, sum(map(resident_mib, pids))))
                self.samples[role, "descriptors"].append(Sample(at_s, sum(map(count_descriptors, pids))))
                self.samples[role, "threads"].append(Sample(at_s, sum(map(count_threads, pids))))

    def died(self) -> list[str]:
        """Processes that were seen at two looks or more, and not at the last: whoever was put in their place."""
        return [
            f"a process of {role} ended (pid {process.pid})"
            for role, seen in sorted(self.sightings.items())
            for process, looks in seen.items()
            if looks > 1 and process not in self._last
        ]


def standing(name: str, pid: int) -> dict[str, list[Process]]:
    """The processes of a part that live as long as it does, by role."""
    below = [process for child in proc.children(pid) for process in _below(child)]
    decoders = [process for process in below if is_decoder(process.pid)]
    children = [process for process in below if process not in decoders]
    found = {name: [own] if (own := proc.find(pid)) else [], f"{name} child": children, f"{name} decoder": decoders}
    return {role: processes for role, processes in found.items() if processes}


def _below(process: Process) -> list[Process]:
    """A process and all that it started; of a decoder not what it started."""
    started = [] if is_decoder(process.pid) else proc.children(process.pid)
    return [process, *(found for child in started for found in _below(child))]


def tree(pid: int) -> list[int]:
    """The process and all that it started, itself first."""
    return [pid, *(below for child in proc.children(pid) for below in tree(child.pid))]


def split(name: str, pids: Sequence[int]) -> dict[str, list[int]]:
    """The processes of a part by role: decoders, with their children, are one of their own."""
    found: dict[str, list[int]] = {name: [pid for pid in pids if not is_decoder(pid)]}
    decoders = [pid for pid in pids if is_decoder(pid)]
    return found | ({f"{name} decoder": decoders} if decoders else {})


def is_decoder(pid: int) -> bool:
    """By its command line; False for what has ended."""
    try:
        return DECODER in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def resident_mib(pid: int) -> float:
    """Resident memory, shared pages included; 0 for what has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * PAGE_BYTES / MIB
    except OSError:
        return 0.0


def count_descriptors(pid: int) -> int:
    """Open file descriptors; 0 for what has ended."""
    return _count(pid, "fd")


def count_threads(pid: int) -> int:
    """0 for what has ended."""
    return _count(pid, "task")


def _count(pid: int, folder: str) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/{folder}"))  # noqa: PTH208  names only
    except OSError:
        return 0
