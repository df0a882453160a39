"""The networks as tables of layers: plain data, once, for every engine and for training. Imports no TensorFlow.

A table runs from top to bottom; each row takes the row above it, and `Add` also the row it names. The last row
gives logits: softmax and temperature belong to the engine. `folded` is the table that serves: a BatchNorm
directly after a linear row is absorbed by that row (exact), any other becomes a per-channel `Affine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from shared.errors import ManifestMismatch
from worker.engine.gate import GRID
from worker.engine.layers import (
    LINEAR,
    Add,
    Affine,
    BatchNorm,
    Conv,
    Dense,
    Depthwise,
    Dropout,
    Flatten,
    GlobalPool,
    Layer,
    MaxPool,
    Relu,
    Repeat,
    Rescale,
    Shape,
    arrays_of,
    output_shape,
)

SPATIAL: Final = 3
"""Dimensions of a row's output (height, width, channels) before pooling or flattening."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network: its input (H, W, 1) in [0, 1], its rows, and the rows with a special role.

    Attributes:
        target_layer: the row whose output Grad-CAM weighs.
        float32_until: the last of the first rows that stay in float32 where others use fewer bits; None: no row does.
    """

    name: str
    input_shape: tuple[int, int, int]
    target_layer: str
    layers: tuple[Layer, ...]
    float32_until: str | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """Rows of the EfficientNet-Lite0 table (Tan & Le, arXiv 1905.11946; Lite: ReLU6, no squeeze-and-excite)."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    filters: int


LITE0_STAGES: Final = (
    Stage(repeats=1, kernel=3, stride=1, expansion=1, filters=16),
    Stage(repeats=2, kernel=3, stride=2, expansion=6, filters=24),
    Stage(repeats=2, kernel=5, stride=2, expansion=6, filters=40),
    Stage(repeats=3, kernel=3, stride=2, expansion=6, filters=80),
    Stage(repeats=3, kernel=5, stride=1, expansion=6, filters=112),
    Stage(repeats=4, kernel=5, stride=2, expansion=6, filters=192),
    Stage(repeats=1, kernel=3, stride=1, expansion=6, filters=320),
)


def lite0(outputs: int) -> Architecture:
    """EfficientNet-Lite0 on one grey channel, 224 x 224.

    The original takes (pixel - 127) / 128 on 0..255 in three channels. A grey film repeated to three channels
    through the stem equals one channel through the stem's kernel summed over its inputs: that is what is stored.
    Fewer bits in the first rows, which still see single grey levels, change scores most (DECISIONS 43, 52).
    """
    layers: list[Layer] = [Rescale("rescale", 255 / 128, -127 / 128)]
    layers += _conv_bn("stem", Conv("stem", 32, 3, stride=2), is_active=True)
    filters, number, above = 32, 0, "stem_relu"
    for stage in LITE0_STAGES:
        for repeat in range(stage.repeats):
            stride = stage.stride if repeat == 0 else 1
            rows = _block(f"block{number:02d}", stage, filters, stride, above)
            layers += rows
            filters, number, above = stage.filters, number + 1, rows[-1].name
    layers += _conv_bn("head", Conv("head", 1280, 1), is_active=True)
    layers += [GlobalPool("pool"), Dropout("dropout", 0.2), Dense("logits", outputs)]
    return Architecture("lite0", (224, 224, 1), "head_relu", tuple(layers), float32_until="block01_project")


def _block(name: str, stage: Stage, filters_in: int, stride: int, above: str) -> list[Layer]:
    """Return one inverted bottleneck: expand 1x1, depthwise, project 1x1; plus its input where the shape is kept."""
    rows: list[Layer] = []
    if stage.expansion > 1:
        expand = Conv(f"{name}_expand", filters_in * stage.expansion, 1)
        rows += _conv_bn(f"{name}_expand", expand, is_active=True)
    depthwise = Depthwise(f"{name}_depthwise", stage.kernel, stride)
    rows += _conv_bn(f"{name}_depthwise", depthwise, is_active=True)
    rows += _conv_bn(f"{name}_project", Conv(f"{name}_project", stage.filters, 1), is_active=False)
    if stride == 1 and filters_in == stage.filters:
        rows.append(Add(f"{name}_add", above))
    return rows


def _conv_bn(name: str, layer: Layer, *, is_active: bool) -> list[Layer]:
    rows: list[Layer] = [layer, BatchNorm(f"{name}_bn")]
    return [*rows, Relu(f"{name}_relu", 6.0)] if is_active else rows


def seed2020(outputs: int) -> Architecture:
    """The 2020 study's five-convolution network, 200 x 200; 453,027 parameters with three outputs."""
    layers: list[Layer] = [Repeat("repeat", 3)]
    for number, filters in enumerate((32, 64, 128, 64, 32), start=1):
        name = f"conv{number}"
        layers += [
            Conv(name, filters, 3, padding="valid", has_bias=True),
            Relu(f"{name}_relu"),
            BatchNorm(f"{name}_bn"),
            MaxPool(f"{name}_pool", 2),
            Dropout(f"{name}_dropout", 0.25),
        ]
    layers += [Flatten("flatten"), Dense("dense", 512), Relu("dense_relu"), BatchNorm("dense_bn")]
    layers += [Dropout("dense_dropout", 0.5), Dense("logits", outputs)]
    return Architecture("seed2020", (200, 200, 1), "conv4_relu", tuple(layers))


def tiny(outputs: int) -> Architecture:
    """Two strided convolutions on 64 x 64, for tests and the synthetic recipe: it has both kinds of fold."""
    layers = (
        Rescale("rescale", 2.0, -1.0),
        Conv("conv1", 8, 5, stride=4),
        BatchNorm("conv1_bn", momentum=0.8),
        Relu("conv1_relu", 6.0),
        Conv("conv2", 16, 3, stride=2),
        BatchNorm("conv2_bn", momentum=0.8),
        Relu("conv2_relu", 6.0),
        BatchNorm("late_bn", momentum=0.8),
        GlobalPool("pool"),
        Dense("logits", outputs),
    )
    return Architecture("tiny", (64, 64, 1), "late_bn", layers)


ARCHITECTURES: Final[Mapping[str, Callable[[int], Architecture]]] = MappingProxyType(
    {
        "lite0": lite0,
        "seed2020": seed2020,
        "tiny": tiny,
    }
)


def get_architecture(name: str, outputs: int) -> Architecture:
    """Return the table of that name with that number of outputs.

    Raises:
        ManifestMismatch: this build has no such architecture.
    """
    try:
        return ARCHITECTURES[name](outputs)
    except KeyError:
        message = f"This build has no architecture named '{name}'."
        raise ManifestMismatch(message) from None


def folded(architecture: Architecture) -> Architecture:
    """Return the table that serves, without BatchNorm and Dropout; `training/export.py` folds the arrays to match."""
    rows: list[Layer] = []
    replacements: dict[str, str] = {}
    for layer in architecture.layers:
        if isinstance(layer, Dropout):
            replacements[layer.name] = rows[-1].name
        elif isinstance(layer, BatchNorm) and rows and isinstance(rows[-1], LINEAR):
            rows[-1] = replace(rows[-1], has_bias=True)
            replacements[layer.name] = rows[-1].name
        elif isinstance(layer, BatchNorm):
            rows.append(Affine(layer.name))
        elif isinstance(layer, Add):
            rows.append(Add(layer.name, replacements.get(layer.other, layer.other)))
        else:
            rows.append(layer)
    target = replacements.get(architecture.target_layer, architecture.target_layer)
    return replace(architecture, target_layer=target, layers=tuple(rows))


def array_shapes(architecture: Architecture) -> dict[str, Shape]:
    """Return name and shape of every array that the table needs, e.g. {'stem.kernel': (3, 3, 1, 32), ...}."""
    shapes: dict[str, Shape] = {}
    for layer, shape_in in _with_input_shapes(architecture):
        for suffix, shape in arrays_of(layer, shape_in).items():
            shapes[f"{layer.name}.{suffix}"] = shape
    return shapes


def gate_features(architecture: Architecture, row: str) -> int:
    """Return the number of features of an input gate on that row: its channels in each cell of the grid.

    Raises:
        ManifestMismatch: there is no such row, or its height or width is not even.
    """
    for layer, shape_in in _with_input_shapes(architecture):
        shape = output_shape(layer, shape_in)
        if layer.name == row and len(shape) == SPATIAL and not (shape[0] % GRID or shape[1] % GRID):
            return GRID**2 * shape[-1]
    message = f"'{architecture.name}' has no row '{row}' of even height and width for an input gate."
    raise ManifestMismatch(message)


def float32_rows(architecture: Architecture) -> int:
    """Return how many rows, from the first, stay in float32 where the others are computed in fewer bits."""
    names = [layer.name for layer in architecture.layers]
    return names.index(architecture.float32_until) + 1 if architecture.float32_until in names else 0


def _with_input_shapes(architecture: Architecture) -> Iterator[tuple[Layer, Shape]]:
    shape: Shape = architecture.input_shape
    for layer in architecture.layers:
        yield layer, shape
        shape = output_shape(layer, shape)
