"""The shutdown of a worker process: announced by Celery, then requested, then finished."""

from __future__ import annotations

import mmap
import threading


class SharedFlag:
    """A flag in shared memory: children that are forked after it was made see when it is set.

    A signal handler may set it, since it takes no lock.
    """

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def set(self, **_sent: object) -> None:
        """Set the flag; may be connected to a Celery signal as its receiver."""
        self._byte[0] = 1

    @property
    def is_set(self) -> bool:
        """True once `set` was called, in this process or in its parent."""
        return self._byte[0] == 1


class EndedWhileWaiting(SystemExit):
    """The worker was told to end before it had started."""


class Shutdown:
    """How far the shutdown of this process has come; its steps are waited for by the worker's threads.

    Args:
        announced: set when Celery receives SIGTERM. Celery then waits for the running task, so films go on.

    Attributes:
        requested: no other batch is begun from then on.
        finished: the last batch and explanation are done, or took too long; no lease and no heartbeat is renewed.
    """

    def __init__(self, announced: SharedFlag | None = None) -> None:
        self.announced = announced or SharedFlag()
        self.requested = threading.Event()
        self.finished = threading.Event()

    @property
    def is_coming(self) -> bool:
        """True once the shutdown is announced or requested: no other explanation is begun."""
        return self.announced.is_set or self.is_requested

    @property
    def is_requested(self) -> bool:
        """True once `request` was called."""
        return self.requested.is_set()

    @property
    def is_finished(self) -> bool:
        """True once `finish` was called."""
        return self.finished.is_set()

    def request(self) -> None:
        """Let the threads that begin batches and explanations end."""
        self.requested.set()

    def finish(self) -> None:
        """Let the other threads end."""
        self.finished.set()
