"""The log of what clients asked and were told: one JSON line an event, with monotonic and wall time."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO


class Action(StrEnum):
    """What a client does."""

    SUBMIT = "submit"
    READ = "read"
    CANCEL = "cancel"


class Outcome(StrEnum):
    """What a client knows: that it asked; that it was done; that it was not; or neither of the two."""

    INVOKE = "invoke"
    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Event:
    """One line.

    Attributes:
        op: the operation; its `invoke` and its end have the same.
        at, wall: monotonic and wall time in s.
        key: the idempotency key.
        job, state, attempt: as the service told them.
        http: status, or None where no answer came.
    """

    op: int
    at: float
    wall: float
    client: str
    action: Action
    outcome: Outcome
    key: str
    job: str | None = None
    state: str | None = None
    attempt: int | None = None
    http: int | None = None
    error: str | None = None


class History:
    """Where clients write, from any thread.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.events: list[Event] = []
        self._file: IO[str] = path.open("w", encoding="utf-8")
        self._guard = threading.Lock()
        self._numbers = itertools.count(1)

    def invoke(self, client: str, action: Action, key: str, job: str | None = None) -> Event:
        """Note that a client asks."""
        op = next(self._numbers)
        return self._write(Event(op, time.monotonic(), time.time(), client, action, Outcome.INVOKE, key, job))

    def end(  # noqa: PLR0913  each is a fact of the answer
        self,
        asked: Event,
        outcome: Outcome,
        *,
        job: str | None = None,
        state: str | None = None,
        attempt: int | None = None,
        http: int | None = None,
        error: str | None = None,
    ) -> Event:
        """Note what it was told."""
        now, wall = time.monotonic(), time.time()
        told = (job or asked.job, state, attempt, http, error)
        return self._write(Event(asked.op, now, wall, asked.client, asked.action, outcome, asked.key, *told))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: Event) -> Event:
        line = json.dumps({name: value for name, value in asdict(event).items() if value is not None})
        with self._guard:
            self.events.append(event)
            self._file.write(line + "\n")
            self._file.flush()
        return event


def read(path: Path) -> Iterator[Event]:
    """The events of a file."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            fields = json.loads(line)
            fields["action"], fields["outcome"] = Action(fields["action"]), Outcome(fields["outcome"])
            yield Event(**fields)
