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
    """Return all arrays of the table `lite0` except those of the logits, float32.

    Raises:
        DataProblem: the file is not there, or its SHA-256 is not the given one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        message = (
            f"The pretrained weights {path.name} are not there: put them into {path.parent}; `plainfilm train` and "
            "`plainfilm crossval` also take them with --pretrained."
        )
        raise DataProblem(message, path=str(path)) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        message = f"The pretrained weights {path.name} are not the ones the recipe names (SHA-256)."
        raise DataProblem(message, path=str(path))
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return convert({name: archive[name] for name in archive.files})


def convert(source: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Return the state dict's arrays, renamed and transposed to Keras's layouts."""
    arrays = _conv_bn(source, "stem", "_conv_stem", "_bn0", CONV_AXES)
    arrays["stem.kernel"] = arrays["stem.kernel"].sum(axis=2, keepdims=True)
    blocks = [stage for stage in LITE0_STAGES for _ in range(stage.repeats)]
    for number, stage in enumerate(blocks):
        arrays |= _block(source, number, has_expansion=stage.expansion > 1)
    arrays |= _conv_bn(source, "head", "_conv_head", "_bn1", CONV_AXES)
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


def _block(source: dict[str, FloatArray], number: int, *, has_expansion: bool) -> dict[str, FloatArray]:
    block, torch = f"block{number:02d}", f"_blocks.{number}."
    arrays: dict[str, FloatArray] = {}
    if has_expansion:
        arrays |= _conv_bn(source, f"{block}_expand", f"{torch}_expand_conv", f"{torch}_bn0", CONV_AXES)
    arrays |= _conv_bn(source, f"{block}_depthwise", f"{torch}_depthwise_conv", f"{torch}_bn1", DEPTHWISE_AXES)
    arrays |= _conv_bn(source, f"{block}_project", f"{torch}_project_conv", f"{torch}_bn2", CONV_AXES)
    return arrays


def _conv_bn(
    source: dict[str, FloatArray], name: str, conv: str, norm: str, axes: tuple[int, ...]
) -> dict[str, FloatArray]:
    arrays = {f"{name}.kernel": source[f"{conv}.weight"].transpose(axes)}
    return arrays | {f"{name}_bn.{part}": source[f"{norm}.{torch}"] for part, torch in BATCH_NORM.items()}
