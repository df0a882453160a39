"""The word that a worker is to end, as Celery hears it: seen at once by whoever computes, in this process or a child.

A byte of shared memory: a handler of signals may set it whatever locks are held, and a child made later has it too.
"""

from __future__ import annotations

import mmap


class Ending:
    """Whether the word has come; make it before children are."""

    def __init__(self) -> None:
        self._flag = mmap.mmap(-1, 1)

    def tell(self, **_sent: object) -> None:
        """It has: no other explanation is begun. A receiver of Celery's signal."""
        self._flag[0] = 1

    @property
    def has_come(self) -> bool:
        """True from then on."""
        return self._flag[0] == 1
