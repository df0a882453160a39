"""The kinds of row that a network table may have, and their output shapes. Plain data; imports no TensorFlow.

Used by `architecture.py`, which writes the tables, and by every engine, which builds a network from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Padding = Literal["same", "valid"]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rescale:
    """y = scale * x + offset, one number each for the whole tensor."""

    name: str
    scale: float
    offset: float


@dataclass(frozen=True, slots=True)
class Repeat:
    """The grey channel repeated `channels` times."""

    name: str
    channels: int


@dataclass(frozen=True, slots=True)
class Conv:
    """2-D convolution; kernel array (k, k, in, filters). 'same' is TensorFlow's: the odd pixel goes last."""

    name: str
    filters: int
    kernel: int
    stride: int = 1
    padding: Padding = "same"
    has_bias: bool = False


@dataclass(frozen=True, slots=True)
class Depthwise:
    """One k x k filter a channel; kernel array (k, k, in, 1)."""

    name: str
    kernel: int
    stride: int = 1
    has_bias: bool = False


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta per channel (Ioffe & Szegedy, arXiv 1502.03167).

    While training, `momentum` is the share of the running mean and variance that a step keeps.
    """

    name: str
    epsilon: float = 1e-3
    momentum: float = 0.99


@dataclass(frozen=True, slots=True)
class Affine:
    """y = scale * x + offset per channel: a BatchNorm that no linear row before it could absorb."""

    name: str


@dataclass(frozen=True, slots=True)
class Relu:
    """max(x, 0), cut off at `ceiling` where there is one."""

    name: str
    ceiling: float | None = None


@dataclass(frozen=True, slots=True)
class MaxPool:
    """Largest value of each size x size square; incomplete squares at the edge are dropped."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Add:
    """The row above plus the row named `other`."""

    name: str
    other: str


@dataclass(frozen=True, slots=True)
class GlobalPool:
    """(h, w, c) to (c): the mean over the positions."""

    name: str


@dataclass(frozen=True, slots=True)
class Flatten:
    """(h, w, c) to (h * w * c) in C order."""

    name: str


@dataclass(frozen=True, slots=True)
class Dropout:
    """Sets a share `rate` of the values to zero during training; the identity when serving."""

    name: str
    rate: float


@dataclass(frozen=True, slots=True)
class Dense:
    """x @ kernel + bias; kernel array (in, units)."""

    name: str
    units: int
    has_bias: bool = True


Layer = (
    Rescale
    | Repeat
    | Conv
    | Depthwise
    | BatchNorm
    | Affine
    | Relu
    | MaxPool
    | Add
    | GlobalPool
    | Flatten
    | Dropout
    | Dense
)
LINEAR: Final = (Conv, Depthwise, Dense)


def arrays_of(layer: Layer, shape_in: Shape) -> dict[str, Shape]:
    """Return suffix and shape of the arrays that a row needs, in Keras's order; {} for most rows."""
    channels = shape_in[-1]
    match layer:
        case Conv(filters=filters, kernel=k):
            return _with_bias(layer.has_bias, (k, k, channels, filters), filters)
        case Depthwise(kernel=k):
            return _with_bias(layer.has_bias, (k, k, channels, 1), channels)
        case Dense(units=units):
            return _with_bias(layer.has_bias, (channels, units), units)
        case BatchNorm():
            return dict.fromkeys(("gamma", "beta", "mean", "variance"), (channels,))
        case Affine():
            return dict.fromkeys(("scale", "offset"), (channels,))
        case _:
            return {}


def _with_bias(has_bias: bool, kernel: Shape, outputs: int) -> dict[str, Shape]:  # noqa: FBT001 - a table's field
    return {"kernel": kernel, "bias": (outputs,)} if has_bias else {"kernel": kernel}


def output_shape(layer: Layer, shape_in: Shape) -> Shape:  # noqa: PLR0911 - one return a kind of row
    """Return the output shape of a row for the input shape `shape_in`, both without the batch."""
    match layer:
        case Repeat(channels=channels):
            return (*shape_in[:-1], channels)
        case Conv(filters=filters):
            trim = layer.kernel - 1 if layer.padding == "valid" else 0
            return (*(_ceil_div(side - trim, layer.stride) for side in shape_in[:-1]), filters)
        case Depthwise():
            return (*(_ceil_div(side, layer.stride) for side in shape_in[:-1]), shape_in[-1])
        case MaxPool(size=size):
            return (*(side // size for side in shape_in[:-1]), shape_in[-1])
        case GlobalPool():
            return (shape_in[-1],)
        case Flatten():
            height, width, channels = shape_in
            return (height * width * channels,)
        case Dense(units=units):
            return (units,)
        case _:
            return shape_in


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
