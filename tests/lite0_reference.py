"""EfficientNet-Lite0 in plain numpy, float64, written from its description and not from our table.

Works on the PyTorch state dict's own names and layouts, so that a mistake in our table, in the conversion, in the
summed stem or in the padding shows as a difference.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Source = dict[str, npt.NDArray[np.float32]]

STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
"""(repeats, kernel, stride of the first, expansion, filters)"""


def logits(source: Source, film: npt.NDArray[np.float32]) -> Array:
    """Logits of one film (h, w) in [0, 1], its grey repeated to three channels."""
    x = np.repeat((film.astype(np.float64)[:, :, np.newaxis] * 255 - 127) / 128, 3, axis=2)
    x = _relu6(_norm(source, "_bn0", _conv(x, source["_conv_stem.weight"], 2)))
    number = 0
    for repeats, _, first, expansion, _ in STAGES:
        for repeat in range(repeats):
            x = _block(source, f"_blocks.{number}.", x, first if repeat == 0 else 1, has_expansion=expansion > 1)
            number += 1
    x = _relu6(_norm(source, "_bn1", _conv(x, source["_conv_head.weight"], 1)))
    return x.mean(axis=(0, 1)) @ source["_fc.weight"].T.astype(np.float64) + source["_fc.bias"]


def make_source(labels: int, seed: int = 0) -> Source:
    """A random state dict of the original's names and shapes."""
    rng = np.random.default_rng(seed)
    source: Source = {}

    def add(conv: str, norm: str, shape: tuple[int, ...]) -> None:
        fan_in = int(np.prod(shape[1:]))
        source[f"{conv}.weight"] = rng.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32)
        for part, low in (("weight", 0.5), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 0.5)):
            source[f"{norm}.{part}"] = (low + rng.random(shape[0])).astype(np.float32)

    add("_conv_stem", "_bn0", (32, 3, 3, 3))
    filters, number = 32, 0
    for repeats, kernel, _, expansion, out in STAGES:
        for _ in range(repeats):
            b, wide = f"_blocks.{number}.", filters * expansion
            if expansion > 1:
                add(f"{b}_expand_conv", f"{b}_bn0", (wide, filters, 1, 1))
            add(f"{b}_depthwise_conv", f"{b}_bn1", (wide, 1, kernel, kernel))
            add(f"{b}_project_conv", f"{b}_bn2", (out, wide, 1, 1))
            filters, number = out, number + 1
    add("_conv_head", "_bn1", (1280, 320, 1, 1))
    source["_fc.weight"] = rng.normal(0, 0.1, (labels, 1280)).astype(np.float32)
    source["_fc.bias"] = rng.normal(0, 0.1, labels).astype(np.float32)
    return source


def _block(source: Source, name: str, x: Array, stride: int, *, has_expansion: bool) -> Array:
    y = x
    if has_expansion:
        y = _relu6(_norm(source, f"{name}_bn0", _conv(y, source[f"{name}_expand_conv.weight"], 1)))
    y = _relu6(_norm(source, f"{name}_bn1", _depthwise(y, source[f"{name}_depthwise_conv.weight"], stride)))
    y = _norm(source, f"{name}_bn2", _conv(y, source[f"{name}_project_conv.weight"], 1))
    return y + x if stride == 1 and x.shape == y.shape else y


def _windows(x: Array, kernel: int, stride: int) -> list[list[Array]]:
    """For each place in the kernel the pixels it meets; padded so that the odd row and column go last."""
    sides = [-(-side // stride) for side in x.shape[:2]]
    missing = [max((out - 1) * stride + kernel - side, 0) for out, side in zip(sides, x.shape[:2], strict=True)]
    padded = np.pad(x, [(m // 2, m - m // 2) for m in missing] + [(0, 0)])
    return [
        [padded[i : i + sides[0] * stride : stride, j : j + sides[1] * stride : stride][: sides[0], : sides[1]]
         for j in range(kernel)]
        for i in range(kernel)
    ]  # fmt: skip


def _conv(x: Array, weight: npt.NDArray[np.float32], stride: int) -> Array:
    kernel = weight.shape[2]
    met = _windows(x, kernel, stride)
    return sum(met[i][j] @ weight[:, :, i, j].T.astype(np.float64) for i in range(kernel) for j in range(kernel))


def _depthwise(x: Array, weight: npt.NDArray[np.float32], stride: int) -> Array:
    kernel = weight.shape[2]
    met = _windows(x, kernel, stride)
    return sum(met[i][j] * weight[:, 0, i, j] for i in range(kernel) for j in range(kernel))


def _norm(source: Source, name: str, x: Array) -> Array:
    scale = source[f"{name}.weight"] / np.sqrt(source[f"{name}.running_var"].astype(np.float64) + 1e-3)
    return (x - source[f"{name}.running_mean"]) * scale + source[f"{name}.bias"]


def _relu6(x: Array) -> Array:
    return np.clip(x, 0, 6)
