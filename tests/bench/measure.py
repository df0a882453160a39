"""One server's turn in a round: cold start, agreement, warm-up, then every load, each with what it cost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from tests.bench import stats, talk, tree
from tests.bench.designs import ROOT, Design, Server, Setting, clean_environment
from tests.bench.load import MIME
from tests.bench.plan import EXTRA, FilmSort, Load, Plan
from tests.bench.talk import NotAnswered
from tests.bench.tree import MemoryWatch
from worker.engine.choose import Precision

START_WAIT_S = 300.0
RETRY_S = 0.02
QUIET_S = 2.0
AGAIN = 5
SETTLE_S = 0.3
"""After the last answer, so that what the server still does for these films is counted."""

Json = dict[str, Any]  # Any: rows of the results
Films = Mapping[FilmSort, Sequence[Path]]


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Seconds from the start of the first process to the first answer, and what the second film then took."""

    first_s: float
    second_s: float


@contextmanager
def running(design: Design, setting: Setting, folder: Path) -> Iterator[Server]:
    """A started server, stopped at the end of the block; its films go then, and its logs too where all went well."""
    folder.mkdir(parents=True)
    server = design.start(folder, setting)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder / "home" / "films", ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def cold_start(server: Server, started: float, paths: Sequence[Path]) -> ColdStart:
    """Ask until the first film is answered, then send the second.

    Raises:
        TimeoutError: it was not in time.
    """
    while True:
        try:
            ask(server, paths[0])
            break
        except (OSError, HTTPException, NotAnswered) as fault:
            server.check()
            if time.monotonic() - started > START_WAIT_S:
                raise TimeoutError(f"'{server.name}' gave no answer: {fault}") from fault
        time.sleep(RETRY_S)
    first_s = time.monotonic() - started
    again = time.monotonic()
    ask(server, paths[1])
    return ColdStart(first_s, time.monotonic() - again)


def ask(server: Server, path: Path) -> dict[str, float]:
    """One film over a connection of its own."""
    http = HTTPConnection("127.0.0.1", server.port, timeout=60.0)
    try:
        return talk.make(server.name, server.key()).ask(http, path.read_bytes(), MIME[path.suffix])
    finally:
        http.close()


def settle(server: Server) -> None:
    """Wait until plainfilm has classified the sample films that it may queue at its first start."""
    if server.key_file is None:
        return
    counted, since = -1, time.monotonic()
    while time.monotonic() - since < QUIET_S:
        http = HTTPConnection("127.0.0.1", server.port, timeout=60.0)
        http.request("GET", "/api/v1/jobs?limit=200", headers={"Authorization": f"Bearer {server.key()}"})
        jobs = json.loads(http.getresponse().read())["jobs"]
        http.close()
        if len(jobs) != counted or not all(job["done"] for job in jobs):
            counted, since = len(jobs), time.monotonic()
        time.sleep(0.2)


def again_ms(server: Server, path: Path) -> float:
    """What a film takes that was answered before: the median of some."""
    found = []
    for _ in range(AGAIN):
        started = time.monotonic()
        ask(server, path)
        found.append(1000 * (time.monotonic() - started))
    return stats.percentile(found, 0.5)


def send(server: Server, films: Sequence[Path], clients: int, how: str | None = None) -> Json:
    """One load.

    Args:
        how: the name of its clients' talk; the server's own unless given.

    Returns:
        The measures of `stats`, CPU by part, and the peaks of memory by part.

    Raises:
        NotAnswered: a film was not.
    """
    who = {"talk": how or server.name, "key": server.key(), "port": server.port}
    order = {**who, "clients": clients, "films": list(map(str, films))}
    process = start_helper("tests.bench.load", order)
    assert process.stdin is not None
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise RuntimeError("the load did not start")
    watch = MemoryWatch(server.tree)
    before = server.tree.cpu_s()
    watch.start()
    process.stdin.write("go\n")
    process.stdin.flush()
    found = json.loads(process.stdout.readline())
    process.wait()
    time.sleep(SETTLE_S)
    watch.close()
    cpu, shared_once = tree.used(before, server.tree.cpu_s()), server.tree.pss_bytes()
    if found["faults"]:
        raise NotAnswered(f"'{server.name}': {found['faults'][0]}")
    return {
        "measures": measures(found, sum(cpu.values()), watch.peak_bytes),
        "cpu_ms_per_film_by_part": {part: 1000 * seconds / len(films) for part, seconds in cpu.items()},
        "rss_mb_by_part": _in_mb(watch.peaks, watch.peak_bytes),
        "pss_mb_by_part": _in_mb(shared_once, sum(shared_once.values())),
    }


def _in_mb(parts: Mapping[str, int], whole: int) -> dict[str, float]:
    """Bytes of each part and of all of them, in MB."""
    return {part: size / 2**20 for part, size in {**parts, "all": whole}.items()}


def measures(found: Json, cpu_s: float, rss_bytes: int) -> dict[str, float]:
    """The load's own report and the server's cost as the measures of one cell."""
    latencies = found["latencies_s"]
    return {
        "films_per_s": len(latencies) / found["wall_s"],
        "p50_ms": 1000 * stats.percentile(latencies, 0.50),
        "p95_ms": 1000 * stats.percentile(latencies, 0.95),
        "p99_ms": 1000 * stats.percentile(latencies, 0.99),
        "cpu_ms_per_film": 1000 * cpu_s / len(latencies),
        "client_cpu_ms_per_film": 1000 * found["cpu_s"] / len(latencies),
        "rss_mb": rss_bytes / 2**20,
    }


def run_ceiling(films: Sequence[Path], processes: int, batch: int) -> Json:
    """The bare loop over these films."""
    order = {"films": list(map(str, films)), "processes": processes, "batch": batch}
    found = ask_helper("tests.bench.peers.ceiling", order)
    return {
        "films_per_s": found["films"] / found["wall_s"],
        "cpu_ms_per_film": 1000 * found["cpu_s"] / found["films"],
        "rss_mb": found["rss_bytes"] / 2**20,
    }


def heatmap_cost() -> float:
    """CPU of probabilities and map together, divided by that of the probabilities alone: the network only."""
    cost: float = ask_helper("tests.bench.peers.ceiling", {"heatmap_cost": True})
    return cost


def reference_answers(films: Films, precision: Precision | None) -> list[dict[str, float]]:
    """What the bare loop says, in that arithmetic, of the films that all must agree on."""
    order = {"answers": [str(path) for path in agreement_films(films)], "precision": precision}
    answers: list[dict[str, float]] = ask_helper("tests.bench.peers.ceiling", order)
    return answers


def agreement_films(films: Films) -> list[Path]:
    """Two of each sort; no load sends them."""
    return [path for sort in films.values() for path in sort[2:EXTRA]]


def warm_films(films: Films, plan: Plan) -> list[Path]:
    """What each server answers before the clock starts."""
    return [path for sort in films.values() for path in sort[EXTRA : EXTRA + plan.warm]]


def films_of(load: Load, films: Films, plan: Plan) -> Sequence[Path]:
    """The load's own films: no other load of this server sends them."""
    place = EXTRA + plan.warm
    for other in plan.loads:
        if other == load:
            break
        place += other.films if other.sort == load.sort else 0
    return films[load.sort][place : place + load.films]


def ask_helper(module: str, order: Json, environment: Mapping[str, str] | None = None) -> Any:  # Any: JSON
    """What a helper answers to one order, with so much set beside its own environment."""
    process = start_helper(module, order, environment)
    assert process.stdout is not None
    line = process.stdout.readline()
    if process.wait() or not line:
        raise RuntimeError(f"{module} failed")
    return json.loads(line)


def start_helper(module: str, order: Json, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """A process of ours that was given its order."""
    process = subprocess.Popen(
        [sys.executable, "-m", module], cwd=ROOT, env=clean_environment() | (environment or {}), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()
    return process
