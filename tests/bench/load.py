"""The clients, in a process of their own: threads that each send a film as soon as their last one is answered.

`python -m tests.bench.load` reads one JSON line, says 'ready' once the films are in memory, starts at the line 'go',
and answers with one JSON line. Its own CPU is measured, since it runs on the same cores.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.bench import talk
from tests.bench.talk import Talk

PATIENCE_S = 120.0
MIME = {".png": "image/png", ".jpeg": "image/jpeg"}


@dataclass(frozen=True, slots=True)
class Film:
    """A film in memory."""

    data: bytes
    mime: str


@dataclass(slots=True)
class Clients:
    """So many clients of one server.

    Attributes:
        films: what is still to send; each is sent once.
    """

    talk: Talk
    port: int
    films: list[Film]
    latencies_s: list[float]
    faults: list[str]

    def run(self, count: int) -> float:
        """Send everything.

        Returns:
            Seconds from the first film to the last answer.
        """
        threads = [threading.Thread(target=self._client, daemon=True) for _ in range(count)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - started

    def _client(self) -> None:
        http = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        while True:
            try:
                film = self.films.pop()
            except IndexError:
                break
            started = time.perf_counter()
            try:
                self.talk.ask(http, film.data, film.mime)
            except Exception as fault:  # noqa: BLE001  told to the harness, which gives up
                self.faults.append(f"{type(fault).__name__}: {fault}")
                break
            self.latencies_s.append(time.perf_counter() - started)
        http.close()


def read(paths: Sequence[str]) -> list[Film]:
    """Films into memory, the first at the end, where they are taken from."""
    return [Film(Path(path).read_bytes(), MIME[Path(path).suffix]) for path in reversed(paths)]


def cpu_s() -> float:
    """CPU seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """One load."""
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    clients = Clients(talk.make(order["talk"], order["key"]), order["port"], read(order["films"]), [], [])
    tell("ready")
    sys.stdin.readline()
    before = cpu_s()
    wall_s = clients.run(order["clients"])
    tell(
        json.dumps(
            {
                "wall_s": wall_s,
                "cpu_s": cpu_s() - before,
                "latencies_s": clients.latencies_s,
                "faults": clients.faults,
            }
        )
    )


def tell(line: str) -> None:
    """A line to the harness."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
