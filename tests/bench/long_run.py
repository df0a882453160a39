"""What one `plainfilm up` costs over time: the queue's CPU a film, and its memory over many films."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from shared import samples
from shared.domain import Priority
from shared.queueing import CeleryQueue
from shared.wiring import new_job_id
from tests.bench import films, measure, stats, tree
from tests.bench.designs import Plainfilm, Server
from tests.bench.load import cpu_s
from tests.bench.plan import FilmSort, Kind
from tests.soak.verdict import Sample, slope_per_s

RINGS, IDLE_S, DRAIN_S = 2_000, 10.0, 120.0
FILMS, WARM_FILMS, CLIENTS = 10_000, 2_000, 8
SAMPLE_EVERY_S = 2.0
SORT, SEED = FilmSort(Kind.JPEG, 512), 7
SOME = 12

Say = Callable[[str], None]


def queue_cost(folder: Path, say: Say) -> dict[str, float]:
    """CPU ms a ring for its client, its worker and the broker; each ring is of a film that nobody knows.

    A ring costs its worker one look at the database, so this is what a film costs that no batch took along. What the
    parts use while nothing rings is taken off.
    """
    with started(folder) as server:
        queue = CeleryQueue((server.folder / "home" / "run" / "redis-url").read_text().strip())
        queue.classify(new_job_id(), Priority.ROUTINE)  # the first one connects
        idle = over(server, lambda: time.sleep(IDLE_S))
        before, began = cpu_s(), time.monotonic()
        busy = over(server, lambda: ring_and_wait(queue))
        client_s, took_s = cpu_s() - before, time.monotonic() - began
        queue.close()
    rate = {part: seconds / IDLE_S for part, seconds in idle.items()}
    cost = {part: 1000 * (busy[part] - took_s * rate[part]) / RINGS for part in ("worker", "broker")}
    found = {"client_ms": 1000 * client_s / RINGS, "worker_ms": cost["worker"], "broker_ms": cost["broker"]}
    say(f"  {RINGS:,} rings in {took_s:.0f} s")
    return {**found, "client_and_worker_ms": found["client_ms"] + found["worker_ms"]}


def ring_and_wait(queue: CeleryQueue) -> None:
    """All rings, and until the worker has heard them.

    Raises:
        TimeoutError: it has not.
    """
    for _ in range(RINGS):
        queue.classify(new_job_id(), Priority.ROUTINE)
    give_up_at = time.monotonic() + DRAIN_S
    while queue.backlog():
        if time.monotonic() > give_up_at:
            raise TimeoutError("the worker did not hear all rings")
        time.sleep(0.05)
    time.sleep(measure.SETTLE_S)


def over(server: Server, act: Callable[[], None]) -> dict[str, float]:
    """CPU seconds of each part while `act` runs."""
    before = server.tree.cpu_s()
    act()
    return tree.used(before, server.tree.cpu_s())


def memory(folder: Path, say: Say) -> dict[str, float]:
    """MB that each part, and all of it, grows a 1,000 films, from film 2,000 to film 10,000: by the median slope."""
    made = films.make_all(folder / "films", {SORT: SOME}, SEED)[SORT]
    with started(folder) as server:
        send(server, made, WARM_FILMS)
        watch = Samples(server)
        began = time.monotonic()
        watch.start()
        send(server, made, FILMS - WARM_FILMS)
        watch.close()
        took_s = time.monotonic() - began
    say(f"  {FILMS - WARM_FILMS:,} films in {took_s:.0f} s")
    per_s = (FILMS - WARM_FILMS) / took_s / 1000
    return {part: slope_per_s(sizes) / per_s for part, sizes in watch.sizes_mb.items()}


def send(server: Server, made: Sequence[Path], count: int) -> None:
    """So many films, the same few again and again, each of them computed."""
    paths = [made[number % len(made)] for number in range(count)]
    measure.send(server, paths, CLIENTS, stats.PLAINFILM_COMPUTED)


class Samples(threading.Thread):
    """Memory by part and in all, looked at every other second."""

    def __init__(self, server: Server) -> None:
        super().__init__(name="samples", daemon=True)
        self.sizes_mb: dict[str, list[Sample]] = {}
        self._server = server
        self._over = threading.Event()

    def run(self) -> None:
        """Look until told to stop."""
        while not self._over.wait(SAMPLE_EVERY_S):
            now = self._server.tree.rss_bytes()
            at_s = time.monotonic()
            for part, size in {**now, "all": sum(now.values())}.items():
                self.sizes_mb.setdefault(part, []).append(Sample(at_s, size / 2**20))

    def close(self) -> None:
        """Stop."""
        self._over.set()
        self.join()


@contextmanager
def started(folder: Path) -> Iterator[Server]:
    """A service that has answered its sample films."""
    began = time.monotonic()
    with measure.running(Plainfilm(), {}, folder / "server") as server:
        measure.cold_start(server, began, samples.paths()[:2])
        measure.settle(server)
        yield server
