"""Reads `weights.npz` and `int8.npz` as named arrays: SHA-256 first, then numpy without pickles, names and shapes.

No file is parsed before its SHA-256 has been compared with the manifest's. Called before an engine or an explainer is
built; no TensorFlow.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shared.arrays import FloatArray
from shared.errors import ManifestMismatch, WrongShape
from shared.manifest import MANIFEST_FILE, WEIGHTS_FILE, ModelManifest, read_verified, seal_of
from worker.engine.architecture import Architecture, array_shapes, folded, gate_features, get_architecture
from worker.engine.gate import PREFIX, Gate, from_arrays
from worker.engine.int8 import INT8_FILE, Int8Row, from_stored
from worker.engine.layers import Shape


@dataclass(frozen=True, slots=True)
class Weights:
    """Contents of a model's files, checked.

    Attributes:
        architecture: the folded table.
        arrays: its arrays by name, float32.
        gate: the input gate; None where the model has none.
        int8: rows that may be computed in eight bits, by name; empty where the model was not quantized.
    """

    architecture: Architecture
    arrays: dict[str, FloatArray]
    gate: Gate | None
    int8: Mapping[str, Int8Row] = field(default_factory=dict)


def load_weights(folder: Path, manifest: ModelManifest) -> Weights:
    """Return the contents of `folder/weights.npz`, and of `int8.npz` where the manifest names it, checked against it.

    Raises:
        ManifestMismatch: a file is absent or no npz, or the manifest contradicts the table or the seal of the weights.
        BadChecksum: a file's SHA-256 is not the manifest's.
        WrongShape: an array is missing, superfluous, or of another shape or type than the table's.
    """
    architecture = folded(get_architecture(manifest.architecture, manifest.outputs))
    _check_promises(manifest, architecture)
    data = read_verified(folder / WEIGHTS_FILE, manifest.weights_sha256)
    arrays = _parse(WEIGHTS_FILE, data)
    _check_seal(data, manifest)
    network = {name: array for name, array in arrays.items() if not name.startswith(PREFIX)}
    check_arrays(network, array_shapes(architecture))
    int8: dict[str, Int8Row] = {}
    if manifest.int8_sha256 is not None:
        stored = _parse(INT8_FILE, read_verified(folder / INT8_FILE, manifest.int8_sha256))
        int8 = from_stored(architecture, network, stored)
    return Weights(architecture, network, _find_gate(manifest, architecture, arrays), int8)


def _find_gate(manifest: ModelManifest, architecture: Architecture, arrays: Mapping[str, FloatArray]) -> Gate | None:
    """Return the gate on the manifest's row; None where neither the manifest nor the weights have one."""
    row = manifest.gate_layer
    gate = from_arrays(arrays, gate_features(architecture, row)) if row else None
    is_named = row is not None or manifest.thresholds.max_film_distance is not None
    if gate is None and is_named:
        raise ManifestMismatch("The manifest names an input gate's row or limits, but the weights hold no gate.")
    if row is None and any(name.startswith(PREFIX) for name in arrays):
        raise ManifestMismatch("The weights hold an input gate, but the manifest does not name its row, gate_layer.")
    return gate


def check_arrays(arrays: Mapping[str, FloatArray], expected: Mapping[str, Shape]) -> None:
    """Check names, shapes, type and finiteness of `arrays` against the table.

    Raises:
        WrongShape: naming the first array that does not fit.
    """
    if arrays.keys() != expected.keys():
        name = min(arrays.keys() ^ expected.keys())
        state = "missing" if name in expected else "not expected"
        message = f"The weights do not fit the architecture: '{name}' is {state}."
        raise WrongShape(message)
    for name, shape in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != np.float32:
            message = f"'{name}' is {array.dtype} {array.shape}, promised was float32 {shape}."
            raise WrongShape(message)
        if not np.isfinite(array).all():
            message = f"'{name}' holds values that are not finite."
            raise WrongShape(message)


def _check_promises(manifest: ModelManifest, architecture: Architecture) -> None:
    if manifest.input_shape != architecture.input_shape:
        message = f"The manifest's input_shape is not that of '{architecture.name}'."
        raise ManifestMismatch(message)
    rows = [layer.name for layer in architecture.layers]
    if manifest.target_layer not in rows:
        message = f"'{architecture.name}' has no layer '{manifest.target_layer}'."
        raise ManifestMismatch(message)
    if manifest.gate_layer not in {None, *rows[: rows.index(manifest.target_layer) + 1]}:
        message = f"'{architecture.name}' has no layer '{manifest.gate_layer}' up to '{manifest.target_layer}'."
        raise ManifestMismatch(message)
    count = sum(int(np.prod(shape)) for shape in array_shapes(architecture).values())
    if manifest.parameters != count:
        message = f"The manifest promises {manifest.parameters} parameters, the architecture has {count}."
        raise ManifestMismatch(message)


def _check_seal(data: bytes, manifest: ModelManifest) -> None:
    """Check that the manifest is the one that the weights were sealed with.

    Results and stored answers name only the SHA-256 of the weights, so it has to cover the thresholds too.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        seal = archive.comment.decode("ascii", "replace")
    if seal != seal_of(manifest):
        message = (
            f"{MANIFEST_FILE} is not the one that these weights were written with: its labels, preprocessing, "
            "temperature or thresholds were changed. `plainfilm model recalibrate` writes a version of its own."
        )
        raise ManifestMismatch(message)


def _parse(file: str, data: bytes) -> dict[str, Any]:  # Any: of any type, which the callers check
    message = f"{file} is no npz archive of plain arrays."
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, TypeError, OSError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise ManifestMismatch(message) from error
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # bytes of a member that is no .npy
        raise ManifestMismatch(message)
    return arrays
