"""The in-process ceiling: decode, preprocess, infer in a loop, as many processes as cores, no server, nothing stored.

`python -m tests.bench.peers.ceiling` reads one JSON line and answers with one; its clock starts once the films are in
memory and the networks warm. With "answers" it gives the films' probabilities: what all designs are held against.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tests.bench.load import cpu_s, tell
from tests.bench.peers import work
from worker.engine.choose import Precision

COST_CALLS = 80


@dataclass(frozen=True, slots=True)
class Share:
    """One process's part: its films, and how many go into a call."""

    films: Sequence[str]
    batch: int


@dataclass(frozen=True, slots=True)
class Done:
    """What one process took."""

    started: float
    ended: float
    cpu_s: float
    rss_bytes: int


def answers(paths: Sequence[str], precision: Precision | None) -> list[dict[str, float]]:
    """Probabilities of these films, in plainfilm's usual arithmetic unless another is given."""
    engine = work.open_engine(1, precision=precision)
    inputs = [work.prepare(Path(path).read_bytes(), work.PLAINFILM, engine.manifest) for path in paths]
    return [work.classify(engine, x[np.newaxis])[0].probabilities for x in inputs]


def heatmap_cost() -> float:
    """CPU of probabilities, gate and map together, divided by that without the map; medians of single calls."""
    whole, alone = work.open_engine(1), work.open_engine(1, has_map=False)
    x = np.random.default_rng(1).random((1, *whole.manifest.input_shape), np.float32)
    taken: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(2 * COST_CALLS):
        before = cpu_s()
        (whole if turn % 2 else alone).infer(x)
        taken[turn % 2 == 1].append(cpu_s() - before)
    return median(taken[True][COST_CALLS // 4 :]) / median(taken[False][COST_CALLS // 4 :])


def loop(share: Share, start: Barrier, results: Any) -> None:  # Any: a queue, generic at run time only in stubs
    """One process: decode and infer its share."""
    import psutil  # noqa: PLC0415  the answers need none

    engine = work.open_engine(1)
    films = [Path(path).read_bytes() for path in share.films]
    shape = engine.manifest.input_shape
    engine.infer(np.zeros((share.batch, *shape), np.float32))
    start.wait()
    started, before = time.perf_counter(), cpu_s()
    for place in range(0, len(films), share.batch):
        batch = films[place : place + share.batch]
        work.classify(engine, np.stack([work.prepare(film, work.PLAINFILM, engine.manifest) for film in batch]))
    ended = time.perf_counter()
    results.put(Done(started, ended, cpu_s() - before, psutil.Process().memory_info().rss))


def main() -> None:
    """Answer, or measure."""
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    if "answers" in order:
        tell(json.dumps(answers(order["answers"], order["precision"])))
    elif "heatmap_cost" in order:
        tell(json.dumps(heatmap_cost()))
    else:
        tell(json.dumps(measure(order)))


def measure(order: dict[str, Any]) -> dict[str, float]:
    """The bare loop over the order's films."""
    count, films = order["processes"], order["films"]
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(count + 1), context.Queue()
    shares = [Share(films[place::count], order["batch"]) for place in range(count)]
    processes = [context.Process(target=loop, args=(share, start, results), daemon=True) for share in shares]
    for process in processes:
        process.start()
    start.wait()
    done: list[Done] = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return {
        "wall_s": max(one.ended for one in done) - min(one.started for one in done),
        "cpu_s": sum(one.cpu_s for one in done),
        "rss_bytes": sum(one.rss_bytes for one in done),
        "films": len(films),
    }


if __name__ == "__main__":
    main()
