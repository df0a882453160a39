"""The shutdown of a worker process: announced by Celery, then requested, then finished."""

from __future__ import annotations

import mmap
import threading
from typing import Any


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


class CeleryEnd:
    """The exit status of Celery's worker; its methods are receivers of Celery's signals.

    Celery ends with 1 after the first SIGINT (Ctrl-C) too, although it finishes the running task, as after SIGTERM.
    """

    def __init__(self) -> None:
        self._status = 0
        self._status_if_warm: int | None = None

    def note_request(self, how: str, exitcode: int, **_sent: object) -> None:
        """Receive `worker_shutting_down`: 'Warm' finishes the running task, 'Cold' does not."""
        self._status_if_warm = exitcode if how == "Warm" else None

    def note_end(self, sender: Any, **_sent: object) -> None:  # Any: Celery's worker, which has no types
        """Receive `worker_shutdown`."""
        self._status = sender.exitcode or 0

    @property
    def status(self) -> int:
        """0 if Celery ended because it was told to and finished its task, else its own."""
        return 0 if self._status == self._status_if_warm else self._status


class EndedWhileWaiting(SystemExit):
    """The worker was told to end before it had started."""


class Shutdown:
    """How far the shutdown of this process has come; its steps are waited for by the worker's threads.

    Args:
        announced: set when Celery receives SIGTERM or SIGINT. Celery then waits for the running task, so films go on.

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
