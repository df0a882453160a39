"""Checks that our five explanation methods agree with another library's on the same films; for `explain_check.py`.

The library (xplique) is installed by pip into a folder of its own and runs in a process of its own
(`explain_peer.py`): nothing of it enters our environment.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

import worker.engine
from shared.arrays import FloatArray
from shared.errors import Unavailable
from worker.engine.explain import METHODS, Explainer, IntegratedGradients, Labels, SmoothGrad
from worker.engine.quality import rank_correlation

ROOT: Final = Path(worker.engine.__file__).parents[2]

PEER: Final = (
    "xplique==2.0.2 --hash=sha256:d5f42987de9eed263baec157d5342bc6cd6c7a975f04d16e8652b0b67a735de7",
    "deprecated==1.2.18 --hash=sha256:bd5011788200372a32418f888e326a09ff80d0214bd961147cfed01b5c018eec",
)
"""The second library, and the one package it needs that is not in our environment; without other dependencies."""

LEAST_CORRELATION: Final = 0.999
MOST_DIFFERENCE: Final = 0.01
"""Two maps of a film agree at this rank correlation or more and this difference or less (peaks are 1). They are the
same arithmetic in float32 in another order, and a pixel whose ReLU is at its kink may fall to either side."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of one method with the library over all films: least and mean rank correlation, largest difference."""

    method: str
    least_rank_correlation: float
    mean_rank_correlation: float
    largest_difference: float
    agrees: bool


def install_peer(folder: Path) -> Path:
    """Install the second library by pip into a folder outside our environment, once; return the folder.

    Raises:
        Unavailable: pip could not install it.
    """
    if (folder / "xplique").is_dir():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    requirements = folder / "requirements.txt"
    requirements.write_text("\n".join(PEER) + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    done = subprocess.run([*pip, "--target", str(folder), "-r", str(requirements)], check=False)  # noqa: S603 - fixed words
    if done.returncode:
        raise Unavailable("The second library could not be installed; pip says why.")
    return folder


def ask_peer(model: Path, x: FloatArray, labels: Labels, library: Path, seed: int) -> Mapping[str, FloatArray]:
    """Return the library's maps (N, H, W) of all methods, for the same films and noise, from a process of its own.

    Raises:
        Unavailable: the process failed.
    """
    smooth_grad = SmoothGrad()
    noise = np.random.default_rng(seed).standard_normal((smooth_grad.samples, *x.shape[1:]), np.float32)
    spread = np.float32(smooth_grad.noise) * np.ptp(x, axis=(1, 2, 3))
    with tempfile.TemporaryDirectory() as folder:
        request, answer = Path(folder, "request.npz"), Path(folder, "answer.npy")
        steps = IntegratedGradients().steps
        np.savez(request, model=str(model.resolve()), x=x, labels=labels, noise=noise, spread=spread, steps=steps)
        paths = [str(path) for path in (library.resolve(), request, answer)]
        done = subprocess.run([sys.executable, "-m", "training.explain_peer", *paths], check=False, cwd=ROOT)  # noqa: S603 - our own module
        if done.returncode:
            raise Unavailable("The second library could not explain the films.")
        return dict(zip(METHODS, np.load(answer, allow_pickle=False), strict=True))


def check_agreement(
    explainer: Explainer, x: FloatArray, labels: Labels, peer_maps: Mapping[str, FloatArray], seed: int
) -> tuple[Agreement, ...]:
    """Compare each method's maps with the library's, film by film, both at the input's size with peak 1."""
    return tuple(
        _agreement(method, explainer.explain(x, method, labels, seed), peer_maps[method]) for method in METHODS
    )


def _agreement(method: str, maps: FloatArray, peer_maps: FloatArray) -> Agreement:
    size = (peer_maps.shape[2], peer_maps.shape[1])
    pairs = [(_enlarge(a, size), _over_peak(b)) for a, b in zip(maps, peer_maps, strict=True)]
    ranks = [rank_correlation(a, b) or 0.0 for a, b in pairs]
    difference = max(float(np.abs(a - b).max()) for a, b in pairs)
    agrees = min(ranks) >= LEAST_CORRELATION and difference <= MOST_DIFFERENCE
    return Agreement(method, min(ranks), float(np.mean(ranks)), difference, agrees)


def _enlarge(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Return the map at the library's size, by cubic interpolation as the library does; one of that size stays."""
    if values.shape == size[::-1]:
        return values
    picture = Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)
    return _over_peak(np.asarray(picture, np.float32))


def _over_peak(values: FloatArray) -> FloatArray:
    peak = float(values.max())
    return values / np.float32(peak) if peak > 0 else values
