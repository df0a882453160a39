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
from typing import Any

import numpy as np

from tests.bench.load import cpu_s, tell
from tests.bench.peers import work


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


def answers(paths: Sequence[str]) -> list[dict[str, float]]:
    """Probabilities of these films."""
    engine = work.open_engine(1)
    inputs = [work.prepare(Path(path).read_bytes(), work.PLAINFILM, engine.manifest) for path in paths]
    return [work.classify(engine, x[np.newaxis])[0].probabilities for x in inputs]


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
        tell(json.dumps(answers(order["answers"])))
        return
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
    tell(
        json.dumps(
            {
                "wall_s": max(one.ended for one in done) - min(one.started for one in done),
                "cpu_s": sum(one.cpu_s for one in done),
                "rss_bytes": sum(one.rss_bytes for one in done),
                "films": len(films),
            }
        )
    )


if __name__ == "__main__":
    main()
