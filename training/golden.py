"""Writes a model's golden set: its answers on the sample films, and the tolerance for other devices.

Called wherever a model folder is written or the sample films change; `worker.engine.golden` checks the set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from shared import samples
from shared.arrays import FloatArray
from shared.domain import Evidence
from shared.manifest import ModelManifest, read_manifest
from shared.verdict import assess
from training.dataset import film_sha256
from worker.engine.golden import GOLDEN_FILE, SAME_TOLERANCE, Golden, GoldenFilm, build_name, by_sha256, difference, see
from worker.engine.keras_engine import build_engine
from worker.engine.weights import Weights, load_weights

COARSE_BITS: Final = 13
"""Bits of a float32's mantissa that TF32 drops (23 - 10): the coarsest arithmetic that TensorFlow uses by default."""

MARGIN: Final = 4.0
"""Factor from the change that coarse weights make to the tolerance: TF32 rounds every layer's inputs as well."""


def write_golden(folder: Path, paths: Sequence[Path] | None = None) -> Golden:
    """Write and return `folder/golden.json` for the model in it, on the sample films or those at `paths`.

    Raises:
        ModelProblem: the model cannot be loaded.
    """
    manifest = read_manifest(folder)
    golden = make_golden(manifest, load_weights(folder, manifest), samples.paths() if paths is None else paths)
    (folder / GOLDEN_FILE).write_text(golden.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return golden


def make_golden(manifest: ModelManifest, weights: Weights, paths: Sequence[Path]) -> Golden:
    """Return the model's answers on the films at `paths`, and the tolerance for other devices.

    The tolerance is the change when the network's weights are rounded as TF32 does, times `MARGIN`. A verdict that
    this rounding changes is not required of other devices.
    """
    data_by_sha256 = by_sha256(paths)
    names = {film_sha256(path): path.name for path in paths}
    films = list(data_by_sha256.values())
    engine = build_engine(manifest, weights)
    coarse = list(see(build_engine(manifest, _coarsened(weights)), films))
    rows = [
        _film(names[sha256], sha256, seen, other, manifest)
        for sha256, seen, other in zip(data_by_sha256, see(engine, films), coarse, strict=True)
    ]
    widest = max(difference(row, other) for row, other in zip(rows, coarse, strict=True))
    return Golden(
        weights_sha256=manifest.weights_sha256,
        device=engine.device,
        build=build_name(),
        tolerance=shortest(max(10 * SAME_TOLERANCE, MARGIN * widest)),
        films=tuple(sorted(rows, key=lambda row: row.file)),
    )


def coarsen(values: FloatArray) -> FloatArray:
    """Return float32 values rounded to TF32's 10 bits of mantissa, ties away from zero."""
    half = np.uint32(1 << (COARSE_BITS - 1))
    mask = np.uint32(~((1 << COARSE_BITS) - 1) & 0xFFFFFFFF)
    return ((np.ascontiguousarray(values).view(np.uint32) + half) & mask).view(np.float32)


def shortest(value: float) -> float:
    """Return the shortest decimal that gives the same float32 as this number."""
    return float(str(np.float32(value)))


def _coarsened(weights: Weights) -> Weights:
    return replace(weights, arrays={name: coarsen(array) for name, array in weights.arrays.items()})


def _film(file: str, sha256: str, seen: Evidence, coarse: Evidence, manifest: ModelManifest) -> GoldenFilm:
    verdict = assess(seen, manifest).verdict
    return GoldenFilm(
        file=file,
        sha256=sha256,
        probabilities=dict(zip(manifest.labels, map(shortest, seen.probabilities.tolist()), strict=True)),
        other=shortest(seen.other),
        film_distance=shortest(seen.film_distance),
        feature_distance=shortest(seen.feature_distance),
        verdict=verdict,
        is_steady=assess(coarse, manifest).verdict == verdict,
    )
