"""Which engine serves: OpenVINO on CPUs where the network suits it, else Keras on TensorFlow; or as the setting says.

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
"""Of the network's arithmetic, behind first rows in float32 (`Architecture.float32_until`): float32 everywhere,
bfloat16 on TensorFlow, integers of eight bits on OpenVINO."""

GPU: Final = Path("/dev/nvidia0")

GPU_BATCH: Final = 32
"""Films claimed at once there: an H200 took 6.0 ms for one, 1.3 a film in eights, .54 in batches of 32, .38 in 128."""


def build_engine(
    wanted: EngineName,
    manifest: ModelManifest,
    weights: Weights,
    threads: int | None = None,
    precision: Precision = "f32",
) -> Engine:
    """The engine that is wanted, over weights that are already checked.

    Args:
        threads: cores it computes on; all that this process may use unless given.
        precision: of its arithmetic; all but f32 move scores, so golden films have to speak for it.

    Raises:
        ModelProblem: it is not installed, or ManifestMismatch: it cannot serve this network, or not in that arithmetic.
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
    """int8 where OpenVINO serves a quantized model on a processor that has instructions for it; f32 elsewhere."""
    is_openvinos = _resolve(wanted, manifest, weights) == "openvino" and find_spec("openvino") is not None
    return "int8" if is_openvinos and weights.int8 and computes_int8() else "f32"


def _resolve(wanted: EngineName, manifest: ModelManifest, weights: Weights) -> Literal["keras", "openvino"]:
    if wanted != "auto":
        return wanted
    return choose(weights.architecture, manifest.target_layer, has_gpu=can_use_gpu())


def can_use_gpu() -> bool:
    """Whether there is a GPU and a TensorFlow for it: tensorflow-cpu, which `make run` installs, leaves it alone."""
    try:
        distribution("tensorflow")
    except PackageNotFoundError:
        return False
    return GPU.exists()


def choose(architecture: Architecture, target_layer: str, *, has_gpu: bool) -> Literal["keras", "openvino"]:
    """A GPU is TensorFlow's; on CPUs OpenVINO, where it is there and the network ends as it needs."""
    is_openvinos = not has_gpu and find_spec("openvino") is not None and ends_pooled(architecture, target_layer)
    return "openvino" if is_openvinos else "keras"


def ends_pooled(architecture: Architecture, target_layer: str) -> bool:
    """True where global pooling and one dense layer are all that follows `target_layer`."""
    names = [layer.name for layer in architecture.layers]
    rest = architecture.layers[names.index(target_layer) + 1 :] if target_layer in names else ()
    return [type(layer) for layer in rest] == [GlobalPool, Dense]
