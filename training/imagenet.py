"""ImageNet weights of EfficientNet-Lite0 (a PyTorch state dict as npz, Apache-2.0) under our table's names.

The stem's kernel is summed over its three input channels: exact for a grey film repeated to three channels.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Final

import numpy as np

from shared.arrays import FloatArray
from shared.errors import DataProblem
from worker.engine.architecture import LITE0_STAGES

BATCH_NORM: Final = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}
CONV_AXES: Final = (2, 3, 1, 0)
DEPTHWISE_AXES: Final = (2, 3, 0, 1)


def read_pretrained(path: Path, sha256: str) -> dict[str, FloatArray]:
    """All arrays of the table `lite0` but the logits, float32.

    Raises:
        DataProblem: the file is not there or not the one that is meant.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"The pretrained weights {path.name} are not there: name them with --pretrained."
        raise DataProblem(message, path=str(path)) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        message = f"The pretrained weights {path.name} are not the ones the recipe names (SHA-256)."
        raise DataProblem(message, path=str(path))
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return convert({name: archive[name] for name in archive.files})


def convert(source: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """The state dict's arrays, renamed and transposed to Keras's layouts."""
    found = _conv_bn(source, "stem", "_conv_stem", "_bn0", CONV_AXES)
    found["stem.kernel"] = found["stem.kernel"].sum(axis=2, keepdims=True)
    blocks = [stage for stage in LITE0_STAGES for _ in range(stage.repeats)]
    for number, stage in enumerate(blocks):
        found |= _block(source, number, has_expansion=stage.expansion > 1)
    found |= _conv_bn(source, "head", "_conv_head", "_bn1", CONV_AXES)
    return {name: np.ascontiguousarray(array, np.float32) for name, array in found.items()}


def _block(source: dict[str, FloatArray], number: int, *, has_expansion: bool) -> dict[str, FloatArray]:
    ours, theirs = f"block{number:02d}", f"_blocks.{number}."
    found: dict[str, FloatArray] = {}
    if has_expansion:
        found |= _conv_bn(source, f"{ours}_expand", f"{theirs}_expand_conv", f"{theirs}_bn0", CONV_AXES)
    found |= _conv_bn(source, f"{ours}_depthwise", f"{theirs}_depthwise_conv", f"{theirs}_bn1", DEPTHWISE_AXES)
    found |= _conv_bn(source, f"{ours}_project", f"{theirs}_project_conv", f"{theirs}_bn2", CONV_AXES)
    return found


def _conv_bn(
    source: dict[str, FloatArray], name: str, conv: str, norm: str, axes: tuple[int, ...]
) -> dict[str, FloatArray]:
    found = {f"{name}.kernel": source[f"{conv}.weight"].transpose(axes)}
    found |= {f"{name}_bn.{ours}": source[f"{norm}.{theirs}"] for ours, theirs in BATCH_NORM.items()}
    return found
