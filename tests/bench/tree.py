"""What a server's processes cost: CPU seconds and resident memory over whole process trees, by part.

A child's CPU time moves to its parent once it is waited for, so the sum over the living, each with its dead children's,
grows by exactly what the tree used. Shared pages count in each process that maps them: sums of RSS are upper limits.
Of PSS a page that n processes share counts an nth in each, so its sum is what the tree takes; reading it takes longer.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import psutil

SAMPLE_EVERY_S = 1.0
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Tree:
    """Some processes with all that descends from them.

    Attributes:
        roots: process ids.
        parts: words of a command line, each with the name of the part that such a process and its children are.
    """

    roots: Sequence[int]
    parts: Mapping[str, str] = field(default_factory=dict)

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds since each process started, by part."""
        found: Counter[str] = Counter()
        for process, part in self._all():
            try:
                times = process.cpu_times()
            except psutil.Error:
                continue
            found[part] += times.user + times.system + times.children_user + times.children_system
        return dict(found)

    def rss_bytes(self) -> dict[str, int]:
        """Resident memory now, by part."""
        return self._sum(lambda process: process.memory_info().rss)

    def pss_bytes(self) -> dict[str, int]:
        """Proportional share of memory now, by part: shared pages count once."""
        return self._sum(lambda process: process.memory_full_info().pss)

    def _sum(self, size: Callable[[psutil.Process], int]) -> dict[str, int]:
        found: Counter[str] = Counter()
        for process, part in self._all():
            try:
                found[part] += size(process)
            except psutil.Error:
                continue
        return dict(found)

    def _all(self) -> Iterator[tuple[psutil.Process, str]]:
        """Every living process with its part: its own command line's, else that of the nearest one above."""
        for pid in self.roots:
            try:
                root = psutil.Process(pid)
                family = [root, *root.children(recursive=True)]  # one walk through /proc, parents first
            except psutil.Error:
                continue
            found: dict[int, str] = {}
            for process in family:
                try:
                    found[process.pid] = self._part(process.cmdline()) or found.get(process.ppid(), OTHER)
                except psutil.Error:
                    continue
                yield process, found[process.pid]

    def _part(self, command: Sequence[str]) -> str | None:
        line = " ".join(command)
        return next((part for words, part in self.parts.items() if words in line), None)


def used(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each part used between two readings."""
    return {part: after[part] - before.get(part, 0.0) for part in after}


class MemoryWatch(threading.Thread):
    """Reads a tree's memory now and then, and keeps the peaks."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(name="memory", daemon=True)
        self.peak_bytes = 0
        self.peaks: dict[str, int] = {}
        self._tree = tree
        self._over = threading.Event()

    def run(self) -> None:
        """Read until told to stop."""
        while True:
            self.look()
            if self._over.wait(SAMPLE_EVERY_S):
                return

    def look(self) -> None:
        """Read once."""
        now = self._tree.rss_bytes()
        self.peak_bytes = max(self.peak_bytes, sum(now.values()))
        for part, size in now.items():
            self.peaks[part] = max(self.peaks.get(part, 0), size)

    def close(self) -> None:
        """Read once more and stop."""
        self._over.set()
        self.join()
        self.look()
