"""Chooses the engine: OpenVINO on CPUs where the network suits it, else Keras on TensorFlow; or as the setting says.

Each library is imported only where it is chosen, so a CPU worker never imports TensorFlow, unless it explains.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from shared.errors import ModelProblem
from shared.manifest import ModelManifest
from worker.engine.architecture import Architecture
from worker.engine.base import Engine
from worker.engine.int8 import computes_int8
from worker.engine.layers import Dense, GlobalPool
from worker.engine.weights import Weights

EngineName = Literal["auto", "keras", "openvino"]
Precision = Literal["f32", "bf16", "int8"]
"""Precision of the arithmetic after the first rows, which stay in float32 (`Architecture.float32_until`): float32 on
both engines, bfloat16 on TensorFlow, eight-bit integers on OpenVINO."""

GPU: Final = Path("/dev/nvidia0")

GPU_BATCH: Final = 32
"""Films claimed at once on a GPU: an H200 took 6.0 ms for one, 1.3 a film in eights, .54 in 32s, .38 in 128s."""


def build_engine(
    wanted: EngineName,
    manifest: ModelManifest,
    weights: Weights,
    threads: int | None = None,
    precision: Precision = "f32",
) -> Engine:
    """Return the engine of that name, over weights that are already checked.

    Args:
        threads: cores that it computes on; all that this process may use by default.
        precision: of its arithmetic; all but f32 change scores, so golden films must confirm it.

    Raises:
        ModelProblem: the engine is not installed; ManifestMismatch: it cannot serve this network, or not in that
            precision.
    """
    name = _resolve(wanted, manifest, weights)
    if find_spec("openvino" if name == "openvino" else "tensorflow") is None:
        raise ModelProblem(f"The engine '{name}' is not installed here: pip install '.[worker]' in the checkout.")
    if name == "openvino":
        from worker.engine import openvino_engine  # noqa: PLC0415

        return openvino_engine.build_engine(manifest, weights, threads, precision)
    from worker.engine import keras_engine  # noqa: PLC0415

    return keras_engine.build_engine(manifest, weights, threads, precision)


def usual_precision(wanted: EngineName, manifest: ModelManifest, weights: Weights) -> Precision:
    """Return int8 where OpenVINO serves a quantized model on a processor with instructions for it; f32 elsewhere."""
    has_openvino = _resolve(wanted, manifest, weights) == "openvino" and find_spec("openvino") is not None
    return "int8" if has_openvino and weights.int8 and computes_int8() else "f32"


def _resolve(wanted: EngineName, manifest: ModelManifest, weights: Weights) -> Literal["keras", "openvino"]:
    if wanted != "auto":
        return wanted
    return choose(weights.architecture, manifest.target_layer, has_gpu=can_use_gpu())


def can_use_gpu() -> bool:
    """Return whether there is a GPU and a TensorFlow for it; tensorflow-cpu, which `make run` installs, is not."""
    try:
        distribution("tensorflow")
    except PackageNotFoundError:
        return False
    return GPU.exists()


def choose(architecture: Architecture, target_layer: str, *, has_gpu: bool) -> Literal["keras", "openvino"]:
    """Return TensorFlow on a GPU; on CPUs OpenVINO, where it is installed and the network ends as it needs."""
    suits_openvino = not has_gpu and find_spec("openvino") is not None and ends_pooled(architecture, target_layer)
    return "openvino" if suits_openvino else "keras"


def ends_pooled(architecture: Architecture, target_layer: str) -> bool:
    """Return whether only global pooling and one dense layer follow `target_layer`."""
    names = [layer.name for layer in architecture.layers]
    rest = architecture.layers[names.index(target_layer) + 1 :] if target_layer in names else ()
    return [type(layer) for layer in rest] == [GlobalPool, Dense]
