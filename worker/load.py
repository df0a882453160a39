"""The engine that a worker serves with: in the chosen precision if its golden films pass in it, else in float32."""

from __future__ import annotations

from typing import Final

from shared.errors import GoldenMismatch, ManifestMismatch
from shared.log import get_logger
from shared.manifest import ModelManifest
from shared.settings import Settings
from worker.engine.base import Engine
from worker.engine.choose import GPU_BATCH, Precision, build_engine, usual_precision
from worker.engine.golden import Golden, GoldenState, check_golden
from worker.engine.weights import Weights

log = get_logger(__name__)

CPU_BATCH: Final = 8
"""A larger batch is no faster on a CPU, where films are computed one by one, and makes an urgent film wait longer."""


def choose_batch_limit(settings: Settings, engine: Engine) -> int:
    """Return how many films to claim at once: the setting, else the default of the engine's device."""
    return settings.batch_limit or (GPU_BATCH if engine.device.startswith("gpu/") else CPU_BATCH)


def load_serving_engine(
    settings: Settings, manifest: ModelManifest, weights: Weights, golden: Golden | None
) -> tuple[Engine, GoldenState]:
    """Return the engine that the settings name, checked against its golden set, and the result of that check.

    Uses a precision below float32 only if a golden set exists and passes in it; else float32. The library of the
    engine is imported here, after the fork.

    Raises:
        ModelProblem: the engine cannot be built, or its answers to the golden films differ from the recorded ones.
    """

    def build(precision: Precision) -> Engine:
        return build_engine(settings.engine, manifest, weights, settings.engine_threads, precision)

    precision = _choose_precision(settings, manifest, weights, golden)
    if precision != "f32":
        try:
            coarse = build(precision)
            if check_golden(coarse, golden) is GoldenState.PASSED:
                return coarse, GoldenState.PASSED
            why = "There are no golden films to ask."
        except (ManifestMismatch, GoldenMismatch) as error:
            why = error.detail
        log.warning("worker.precision_refused", precision=precision, why=why)
    engine = build("f32")
    return engine, check_golden(engine, golden)


def _choose_precision(
    settings: Settings, manifest: ModelManifest, weights: Weights, golden: Golden | None
) -> Precision:
    """Return the precision that is set; else the default of the device, or float32 if there is no golden set."""
    if settings.precision != "auto":
        return settings.precision
    return usual_precision(settings.engine, manifest, weights) if golden else "f32"
