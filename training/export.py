"""From a `FitResult` to a folder that `worker.engine` can serve: folded arrays, manifest, recipe, history.

The manifest is written last, with the digest of the weights file beside it. Called by runs, the turns of a
cross-validation, and recalibration.
"""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.arrays import FloatArray
from shared.manifest import MANIFEST_FILE, WEIGHTS_FILE, ModelManifest, SplitMetrics, seal_of
from shared.model_report import REPORT_FILE, Epoch
from training.learned import LEARNED_FILE, RECALIBRATION_FILE
from training.new_folder import write_whole
from training.state import FitResult
from worker.engine.architecture import Architecture, array_shapes, folded
from worker.engine.gate import to_arrays
from worker.engine.golden import GOLDEN_FILE
from worker.engine.int8 import INT8_FILE
from worker.engine.layers import LINEAR, BatchNorm, Depthwise, Layer
from worker.engine.weights import check_arrays

RECIPE_FILE: Final = "recipe.json"
HISTORY_FILE: Final = "history.csv"
OPTIONAL_FILES: Final = (INT8_FILE, GOLDEN_FILE, "learning.json", LEARNED_FILE, RECALIBRATION_FILE, REPORT_FILE)
"""Files that a model's folder may also hold: its int8 rounding, golden set, training time, digests of the films that it
was trained or recalibrated on, and the report on it."""

Doubles = npt.NDArray[np.float64]

ZIP_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def fold(architecture: Architecture, arrays: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Fold the arrays of the trained table into arrays of `folded(architecture)`; exact up to rounding.

    With s = gamma / sqrt(variance + epsilon) and t = beta - mean * s, a BatchNorm is s * x + t per channel. After a
    linear row k * x + b that is (s * k) * x + (s * b + t); elsewhere s and t become the arrays scale and offset.
    """
    parts: dict[str, npt.NDArray[np.floating]] = {}
    before: Layer | None = None
    for layer in architecture.layers:
        if not isinstance(layer, BatchNorm):
            parts |= {name: arrays[name] for name in arrays if name.rpartition(".")[0] == layer.name}
        else:
            scale, offset = _affine(layer, arrays)
            if isinstance(before, LINEAR):
                parts |= _absorb(before, parts, scale, offset)
            else:
                parts |= {f"{layer.name}.scale": scale, f"{layer.name}.offset": offset}
        before = layer
    result = {name: np.ascontiguousarray(array, np.float32) for name, array in parts.items()}
    check_arrays(result, array_shapes(folded(architecture)))
    return result


def _affine(layer: BatchNorm, arrays: Mapping[str, FloatArray]) -> tuple[Doubles, Doubles]:
    gamma, beta, mean, variance = (
        arrays[f"{layer.name}.{part}"].astype(np.float64) for part in ("gamma", "beta", "mean", "variance")
    )
    scale = gamma / np.sqrt(variance + layer.epsilon)
    return scale, beta - mean * scale


def _absorb(
    layer: Layer, arrays: Mapping[str, npt.NDArray[np.floating]], scale: Doubles, offset: Doubles
) -> dict[str, npt.NDArray[np.floating]]:
    kernel = arrays[f"{layer.name}.kernel"]
    along = scale[:, np.newaxis] if isinstance(layer, Depthwise) else scale
    bias = arrays.get(f"{layer.name}.bias", np.zeros_like(offset))
    return {f"{layer.name}.kernel": kernel * along, f"{layer.name}.bias": bias * scale + offset}


def export(result: FitResult, folder: Path, version: str, trained_at: str) -> ModelManifest:
    """Write weights.npz, recipe.json, history.csv and manifest.json, its metrics still empty, into `folder`.

    Args:
        version: of the model, e.g. '2026.1'.
        trained_at: ISO 8601 date in UTC.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = fold(result.architecture, result.arrays)
    data = pack(arrays | (to_arrays(result.gate) if result.gate else {}))
    (folder / RECIPE_FILE).write_text(result.recipe.to_json() + "\n", encoding="utf-8")
    _write_history(folder / HISTORY_FILE, result.history)
    manifest = ModelManifest(
        name=f"plainfilm-{result.recipe.name}",
        version=version,
        architecture=result.architecture.name,
        labels=result.recipe.labels,
        other_label=result.recipe.other_label,
        input_shape=result.architecture.input_shape,
        preprocessing=result.recipe.preprocessing,
        target_layer=result.architecture.target_layer,
        gate_layer=result.recipe.gate_layer,
        temperature=result.temperature,
        thresholds=result.thresholds,
        weights_sha256=hashlib.sha256(data).hexdigest(),  # until they are sealed
        parameters=sum(array.size for array in arrays.values()),
        recipe=result.recipe.name,
        trained_at=trained_at,
        trained_on=result.trained_on,
        metrics={},
    )
    return write_model(folder, data, manifest)


def write_model(folder: Path, data: bytes, manifest: ModelManifest) -> ModelManifest:
    """Write weights.npz, sealed, then manifest.json with its digest; return the manifest as written."""
    sealed = seal(data, manifest)
    (folder / WEIGHTS_FILE).write_bytes(sealed)
    written = manifest.model_copy(update={"weights_sha256": hashlib.sha256(sealed).hexdigest()})
    write_manifest(folder, written)
    return written


def seal(data: bytes, manifest: ModelManifest) -> bytes:
    """Return the archive with `seal_of` its manifest as its comment, so that its SHA-256 covers the thresholds too.

    Two models with the same arrays and different thresholds give different verdicts: they must not share a digest.
    """
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = seal_of(manifest).encode()
    return buffer.getvalue()


def pack(arrays: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
    """Return an npz of plain arrays, the same bytes for the same arrays: sorted, uncompressed, without dates."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            entry = io.BytesIO()
            np.lib.format.write_array(entry, arrays[name], allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", ZIP_EPOCH), entry.getvalue())
    return buffer.getvalue()


def add_metrics(folder: Path, manifest: ModelManifest, metrics: Mapping[str, SplitMetrics]) -> ModelManifest:
    """Write the manifest again with the metrics of its measured splits, and return it."""
    measured = manifest.model_copy(update={"metrics": dict(metrics)})
    write_manifest(folder, measured)
    return measured


def write_manifest(folder: Path, manifest: ModelManifest) -> None:
    """Write `folder/manifest.json`, indented, with one trailing newline."""
    write_whole(folder / MANIFEST_FILE, manifest.model_dump_json(indent=2) + "\n")


def ship(source: Path, target: Path) -> None:
    """Copy a model's files to the folder that the worker loads by default; the manifest last.

    Optional files of the model that was there before are deleted.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name in OPTIONAL_FILES:
        (target / name).unlink(missing_ok=True)
    optional = [name for name in OPTIONAL_FILES if (source / name).exists()]
    for name in (WEIGHTS_FILE, RECIPE_FILE, HISTORY_FILE, *optional, MANIFEST_FILE):
        shutil.copyfile(source / name, target / name)


def _write_history(path: Path, history: tuple[Epoch, ...]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Epoch)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in history)
