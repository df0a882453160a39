"""The engine that a worker serves with: built, in the precision that its golden films speak for, and asked."""

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
"""More gains nothing on a CPU, where films are computed one by one, and makes an urgent film wait longer."""


def choose_batch_limit(settings: Settings, engine: Engine) -> int:
    """Films claimed at once: as set, else by the engine's device."""
    return settings.batch_limit or (GPU_BATCH if engine.device.startswith("gpu/") else CPU_BATCH)


def load_engine(
    settings: Settings, manifest: ModelManifest, weights: Weights, golden: Golden | None
) -> tuple[Engine, GoldenState]:
    """The engine that the settings name, and what its golden films said; its library loads here, after the fork.

    In another precision than f32 only where the golden films, which must be there, say the same in it.

    Raises:
        ModelProblem: it cannot be built, or the golden films are answered otherwise than recorded.
    """

    def build(precision: Precision) -> Engine:
        return build_engine(settings.engine, manifest, weights, settings.engine_threads, precision)

    precision = _wanted(settings, manifest, weights, golden)
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


def _wanted(settings: Settings, manifest: ModelManifest, weights: Weights, golden: Golden | None) -> Precision:
    """The precision that is set, else the device's usual one; without golden films nobody could speak for that."""
    if settings.precision != "auto":
        return settings.precision
    return usual_precision(settings.engine, manifest, weights) if golden else "f32"
