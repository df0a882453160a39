"""One engine on one device, in a process of its own: what each size of batch takes, and what it says of films.

`python -m tests.bench.gpu_engine` reads one JSON line and answers with one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from shared import samples
from shared.arrays import FloatArray
from shared.errors import GoldenMismatch
from shared.imaging.preprocess import NetworkInput, prepare, stack
from shared.manifest import read_manifest
from shared.verdict import assess
from tests.bench.films import NOISE_GREY_LEVELS
from tests.bench.load import tell
from worker.engine.base import Engine
from worker.engine.choose import GPU_BATCH, build_engine
from worker.engine.explain import METHODS
from worker.engine.golden import check_golden, read_golden
from worker.engine.weights import load_weights
from worker.serving import SHIPPED_MODEL

CALLS = 15
EXPLAINED = 4
ANSWERS = ("probabilities", "other", "film_distance", "feature_distance", "saliency")

Json = dict[str, Any]  # Any: JSON


def measure(order: Json) -> Json:
    """What an engine takes and says.

    Args:
        order: `engine`, `precision`, `sizes` of batches, how many `films` to ask about, whether it `explains` too, and
            `out`, the file that its answers are written to.
    """
    started = time.perf_counter()
    manifest = read_manifest(SHIPPED_MODEL)
    engine = build_engine(
        order["engine"], manifest, load_weights(SHIPPED_MODEL, manifest), precision=order["precision"]
    )
    built_s = time.perf_counter() - started
    films = make_inputs(max(order["films"], *order["sizes"]))
    x = stack([film.values for film in films])
    batches = [{"films": size, **time_calls(lambda size=size: engine.infer(x[:size]))} for size in order["sizes"]]
    answers, verdicts = ask(engine, x[: order["films"]], films)
    methods, maps = explain(x[:EXPLAINED]) if order["explains"] else ({}, {})
    np.savez(order["out"], **answers, **maps)
    return {
        "device": engine.device, "built_s": built_s, "golden": golden_state(engine), "batches": batches,
        "verdicts": verdicts, "explanations_ms": methods, "memory_mb": gpu_memory_mb(engine),
    }  # fmt: skip


def make_inputs(count: int) -> list[NetworkInput]:
    """Sample films, each with noise and a contrast of its own, as network inputs."""
    manifest = read_manifest(SHIPPED_MODEL)
    paths, draw = samples.paths(), np.random.default_rng(5)
    made = []
    for place in range(count):
        with Image.open(paths[place % len(paths)]) as sample:
            pixels = np.asarray(sample.convert("L"), np.float32)
        bent = 255 * (pixels / 255) ** draw.uniform(0.6, 1.7) + draw.normal(0, NOISE_GREY_LEVELS, pixels.shape)
        film = np.clip(np.rint(bent), 0, 255).astype(np.uint8)
        made.append(prepare(film, manifest.preprocessing, manifest.input_shape))
    return made


def time_calls(call: Callable[[], object], calls: int = CALLS) -> dict[str, float]:
    """Milliseconds of the first call, and the median of so many behind it."""
    taken = []
    for _ in range(calls + 1):
        started = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - started))
    return {"first_ms": taken[0], "median_ms": median(taken[1:])}


def ask(engine: Engine, x: FloatArray, films: Sequence[NetworkInput]) -> tuple[dict[str, FloatArray], list[str]]:
    """Answers by kind over x (N, H, W, C), in batches as a GPU's worker has them, and the verdicts."""
    parts = [engine.infer(x[start : start + GPU_BATCH]) for start in range(0, len(x), GPU_BATCH)]
    verdicts = [
        assess(part.evidence(place, films[number * GPU_BATCH + place]), engine.manifest).verdict.value
        for number, part in enumerate(parts)
        for place in range(len(part.other))
    ]
    return {kind: np.concatenate([getattr(part, kind) for part in parts]) for kind in ANSWERS}, verdicts


def explain(x: FloatArray) -> tuple[dict[str, float], Mapping[str, FloatArray]]:
    """Milliseconds a film of each method, once it is traced, and its maps."""
    from worker.engine.keras_explainer import load_explainer  # noqa: PLC0415  OpenVINO alone does without TensorFlow

    explainer = load_explainer(SHIPPED_MODEL)
    maps = {method: explainer.explain(x, method) for method in METHODS}
    return {
        method: time_calls(lambda method=method: explainer.explain(x[:1], method), 3)["median_ms"] for method in METHODS
    }, maps


def golden_state(engine: Engine) -> str:
    """What the golden films say of it."""
    try:
        return check_golden(engine, read_golden(SHIPPED_MODEL)).value
    except GoldenMismatch as mismatch:
        return mismatch.detail


def gpu_memory_mb(engine: Engine) -> float | None:
    """The most that TensorFlow held on the first GPU; None on a CPU."""
    if not engine.device.startswith("gpu/"):
        return None
    import tensorflow as tf  # noqa: PLC0415  OpenVINO does without

    return float(tf.config.experimental.get_memory_info("GPU:0")["peak"]) / 2**20


if __name__ == "__main__":
    tell(json.dumps(measure(json.loads(sys.stdin.readline()))))
