"""GPU.md from gpu.json: no number is written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.bench.goals import Results
from tests.bench.render import table

ANSWERS = {
    "probabilities": "probability", "other": "other finding", "film_distance": "film distance",
    "feature_distance": "feature distance", "saliency": "map",
}  # fmt: skip

START = ("engine", "names itself", "built s", "GPU memory MB", "golden films")
MEASURES = {"films_per_s": "films/s", "p50_ms": "p50 ms", "p99_ms": "p99 ms", "cpu_ms_per_film": "CPU ms a film"}

TEXT = """\
Written by `make bench-gpu` from `gpu.json` beside it; not edited by hand. One machine, one run: a GPU beside the CPU it
is in. Engines are asked in processes of their own, of sample blends with noise; each answer is held against TensorFlow
on the CPU in float32. Nothing is tuned. Which libraries stood in for the locked ones in the run that is kept, and what
was made of it: DECISIONS 61."""


def markdown(results: Results) -> str:
    """The whole of GPU.md."""
    found = {name: row for name, row in results["engines"].items() if "failed" not in row}
    served = {name: row for name, row in results["services"].items() if "failed" not in row}
    machine = results["machine"]
    parts = [
        "# A GPU",
        TEXT,
        f"GPU: {results['gpu']}. Processor: {machine['cpu']}, {machine['cores']} cores. {_versions(machine)}.",
        *_failures(results),
        "## A batch through the engine: ms, the median of 15 calls",
        _batches(found),
        "## Start, memory, golden films",
        table(START, [_start(n, r) for n, r in found.items()]),
        "## How far from TensorFlow on the CPU in float32: the largest difference of any of 500 films",
        table(["engine", *ANSWERS.values(), "other verdicts"], [_apart(n, r, found) for n, r in found.items()]),
        "## Explanations: ms a film, and the largest difference of any position of a map",
        _explanations(found),
        *(_services(served) if served else ["No whole service was measured."]),
    ]
    return "\n\n".join(parts) + "\n"


def _services(served: Mapping[str, Results]) -> list[str]:
    return [
        "## Whole services, one worker",
        "A service is `plainfilm up`, its clients on the same cores; films of 1024 x 1024 that it has not seen.",
        table(["service", "load", *MEASURES.values(), "films a batch"], _loads(served)),
        "## Cold start of a service: from its first process to the first answer, and the answer after that",
        table(["service", "first s", "second s"], [_cold(n, r) for n, r in served.items()]),
    ]


def _versions(machine: Results) -> str:
    return ", ".join(f"{name} {version}" for name, version in machine["versions"].items())


def _cold(name: str, service: Results) -> Sequence[str]:
    return [name, f"{service['first_s']:.2f}", f"{service['second_s']:.3f}"]


def _failures(results: Results) -> list[str]:
    return [
        f"Not measured: {name} ({kind}): {row['failed']}"
        for kind in ("engines", "services")
        for name, row in results[kind].items()
        if "failed" in row
    ]


def _batches(found: Results) -> str:
    sizes = sorted({row["films"] for engine in found.values() for row in engine["batches"]})
    rows = []
    for name, engine in found.items():
        taken = {row["films"]: row for row in engine["batches"]}
        rows.append([name, *(f"{taken[size]['median_ms']:.2f}" for size in sizes)])
        rows.append(["its first call", *(f"{taken[size]['first_ms']:.2f}" for size in sizes)])
    return table(["films", *map(str, sizes)], rows)


def _start(name: str, engine: Results) -> Sequence[str]:
    memory = engine["memory_mb"]
    return [
        name,
        engine["device"],
        f"{engine['built_s']:.1f}",
        "" if memory is None else f"{memory:.0f}",
        engine["golden"],
    ]


def _apart(name: str, engine: Results, found: Mapping[str, Results]) -> Sequence[str]:
    reference = next(iter(found.values()))["verdicts"]
    others = sum(mine != theirs for mine, theirs in zip(engine["verdicts"], reference, strict=True))
    return [name, *(f"{engine['largest'][kind]:.2g}" for kind in ANSWERS), f"{others} of {len(reference)}"]


def _explanations(found: Mapping[str, Results]) -> str:
    explained = {name: engine for name, engine in found.items() if engine["explanations_ms"]}
    methods = [*next(iter(explained.values()), {"explanations_ms": {}})["explanations_ms"]]
    rows = [
        [name, *(f"{engine['explanations_ms'][m]:.0f} ({engine['largest'][m]:.2g})" for m in methods)]
        for name, engine in explained.items()
    ]
    return table(["engine", *methods], rows)


def _loads(served: Mapping[str, Results]) -> list[Sequence[str]]:
    return [
        [name, load["load"], *(f"{load['measures'][m]:.1f}" for m in MEASURES), f"{load['films_a_batch']:.1f}"]
        for name, service in served.items()
        for load in service["loads"]
    ]
