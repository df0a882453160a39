"""`python -m tests.bench.gpu [--out folder]`: a GPU beside the CPU of its own machine; writes gpu.json and GPU.md.

Engines first, each in a process of its own, held against float32 on the CPU; then whole services with one worker each.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import mean

import numpy as np

from tests.bench import films, gpu_render, machine, measure
from tests.bench.__main__ import say
from tests.bench.designs import Plainfilm, Server
from tests.bench.gpu_engine import ANSWERS, Json
from tests.bench.plan import FilmSort, Kind
from tests.bench.store import HERE
from worker.engine.explain import METHODS

NAME, TEXT = "gpu.json", "GPU.md"
SIZES = (1, 8, 32, 128)
ODD_SIZES = (27,)
"""Which no engine is warmed with."""
COMPARED = 500
SHARES = {1: 0.1, 32: 1.0, 64: 1.0}
"""Of the films, by clients."""
WARM = 32
SIDE_PX = 1024


@dataclass(frozen=True, slots=True)
class Case:
    """An engine on a device."""

    name: str
    engine: str
    precision: str
    on_gpu: bool = False

    @property
    def environment(self) -> Mapping[str, str]:
        """For its processes."""
        return {} if self.on_gpu else {"CUDA_VISIBLE_DEVICES": "-1"}

    @property
    def settings(self) -> Mapping[str, str]:
        """For a service."""
        return {**self.environment, "PLAINFILM_ENGINE": self.engine, "PLAINFILM_PRECISION": self.precision}


REFERENCE = Case("TensorFlow on the CPU, float32", "keras", "f32")
CASES = (
    REFERENCE,
    Case("TensorFlow on the GPU, float32", "keras", "f32", on_gpu=True),
    Case("TensorFlow on the GPU, bfloat16", "keras", "bf16", on_gpu=True),
    Case("OpenVINO on the CPU, float32", "openvino", "f32"),
    Case("OpenVINO on the CPU, int8", "openvino", "int8"),
)
SERVED = (*CASES[1:3], CASES[-1])


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu", description="A GPU beside its machine's CPU.")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    parser.add_argument("--films", type=int, default=256, help="sent to each service in a load of many clients")
    given = parser.parse_args(arguments)
    name = gpu_name()
    if name is None:
        say("There is no NVIDIA GPU here, or nvidia-smi does not find it: nothing to measure.")
        return 1
    folder = Path(tempfile.mkdtemp(prefix="plainfilm-gpu-"))
    results: Json = {"machine": machine.describe(), "gpu": name, "engines": {}, "services": {}}
    try:
        for case in CASES:
            results["engines"][case.name] = tried(case.name, lambda case=case: ask_engine(case, folder))
            write(given.out, results)
        made = make_films(folder / "films", given.films)
        for case in SERVED:
            results["services"][case.name] = tried(case.name, lambda case=case: load_service(case, folder, made))
            write(given.out, results)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say(gpu_render.markdown(results))
    return 0


def tried(name: str, measured: Callable[[], Json]) -> Json:
    """What was measured, or why it was not: the others are still worth it, and the results say what failed."""
    started = time.monotonic()
    try:
        found = measured()
    except Exception as fault:  # noqa: BLE001
        found = {"failed": f"{type(fault).__name__}: {fault}"}
    say(f"{name}: {time.monotonic() - started:.0f} s {found.get('failed', '')}")
    return found


def write(folder: Path, results: Json) -> None:
    """Both files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / TEXT).write_text(gpu_render.markdown(results), encoding="utf-8")


def gpu_name() -> str | None:
    """By its driver; None where there is none."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def ask_engine(case: Case, folder: Path) -> Json:
    """Times, memory, golden films, and how far its answers are from the reference's."""
    out = folder / f"{case.engine}-{case.precision}-{case.on_gpu}.npz"
    order = {
        "engine": case.engine, "precision": case.precision, "sizes": [*SIZES, *ODD_SIZES], "films": COMPARED,
        "explains": case.engine == "keras" and case.precision == "f32", "out": str(out),
    }  # fmt: skip
    found: Json = measure.ask_helper("tests.bench.gpu_engine", order, case.environment)
    if case.on_gpu and not found["device"].startswith("gpu/"):
        raise RuntimeError(f"the engine ran on {found['device']}")
    reference = folder / f"{REFERENCE.engine}-{REFERENCE.precision}-{REFERENCE.on_gpu}.npz"
    mine, theirs = np.load(out), np.load(reference)
    kinds = [kind for kind in (*ANSWERS, *METHODS) if kind in mine]
    return found | {"largest": {kind: float(np.abs(mine[kind] - theirs[kind]).max()) for kind in kinds}}


def make_films(folder: Path, count: int) -> Mapping[FilmSort, Sequence[Path]]:
    """Films enough for one service: no service sees one twice."""
    needed = WARM + sum(round(count * share) for share in SHARES.values())
    return films.make_all(folder, {FilmSort(kind, SIDE_PX): needed for kind in Kind}, 7)


def load_service(case: Case, folder: Path, made: Mapping[FilmSort, Sequence[Path]]) -> Json:
    """Every load, each with how many films the worker took at once."""
    started = time.monotonic()
    with measure.running(Plainfilm(), case.settings, folder / case.name) as server:
        warm = [path for paths in made.values() for path in paths[:WARM]]
        cold = measure.cold_start(server, started, warm[:2])
        measure.settle(server)
        device = device_of(server)
        if case.on_gpu and not device.startswith("gpu/"):
            raise RuntimeError(f"the service ran on {device}")
        measure.send(server, warm[2:], 16)
        loads = [
            {"load": f"{sort.name}-{clients}", **send(server, part, clients)}
            for sort, paths in made.items()
            for clients, part in zip(SHARES, parts(paths[WARM:]), strict=True)
        ]
    return {"device": device, "first_s": cold.first_s, "second_s": cold.second_s, "loads": loads}


def device_of(server: Server) -> str:
    """What computed its latest result."""
    http = HTTPConnection("127.0.0.1", server.port, timeout=60.0)
    try:
        http.request("GET", "/api/v1/jobs.csv", headers={"Authorization": f"Bearer {server.key()}"})
        return next(csv.DictReader(io.StringIO(http.getresponse().read().decode())))["device"]
    finally:
        http.close()


def parts(paths: Sequence[Path]) -> list[Sequence[Path]]:
    """Each load's own films."""
    ends = [round(len(paths) * share / sum(SHARES.values())) for share in accumulate(SHARES.values())]
    return [paths[start:end] for start, end in pairwise([0, *ends])]


def send(server: Server, paths: Sequence[Path], clients: int) -> Json:
    """One load, and how many films its batches had in the mean."""
    before = batches(server)
    found = measure.send(server, paths, clients)
    taken = batches(server)[len(before) :]
    return {"films": len(paths), "films_a_batch": mean(taken) if taken else 0.0, **found}


def batches(server: Server) -> list[int]:
    """How many films the worker took at once, by its log."""
    log = server.folder / "home" / "logs" / "worker.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [int(json.loads(line)["claimed"]) for line in lines if '"batch.done"' in line]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
