"""The five methods by another library, xplique 2.0.2 (arXiv 2206.04394, MIT licence), for comparison with ours.

A program of its own: `explain_agreement.py` starts it with the library's folder, passes films in one file and reads
maps from another. Only the table and the arrays are ours here; the network is one Keras model, its gradients and every
formula are the library's. No serving module imports this one.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from shared.arrays import FloatArray
from shared.manifest import read_manifest
from worker.engine.explain import METHODS
from worker.engine.keras_network import build_whole, set_arrays
from worker.engine.weights import load_weights

UNUSED: Final = ("xplique", "xplique.attributions", "xplique.utils_functions")
"""Packages whose `__init__` is not run: it would import TensorFlow Probability, OpenCV and scikit-image."""

Library = Any  # untyped, and installed only in this program's environment


def main(request: Path, answer: Path) -> None:
    """Explain the films of one file and write their maps to another.

    `request` has x (N, H, W, C) float32 in [0, 1], labels (N,) int, noise (n, H, W, C) float32 (SmoothGrad's draws),
    spread (N,) float32 (their scale for each film), steps () int, and model () str, a folder. `answer` gets
    (5, N, H, W) float32 >= 0, the methods in the order of `METHODS`, not normalised.
    """
    with np.load(request, allow_pickle=False) as archive:
        inputs = dict(archive)
    model, target = _network(Path(str(inputs["model"])))
    maps = explain(model, target, inputs)
    np.save(answer, np.stack([maps[method] for method in METHODS]))


def _network(folder: Path) -> tuple[keras.Model, str]:
    """Return the network of a model folder, from input to logits, and the name of its target layer."""
    manifest = read_manifest(folder)
    weights = load_weights(folder, manifest)
    network = build_whole(weights.architecture)
    set_arrays((network,), weights.architecture, weights.arrays)
    return network, manifest.target_layer


def explain(network: keras.Model, target: str, inputs: Mapping[str, np.ndarray]) -> dict[str, FloatArray]:
    """Return the maps (N, H, W) of all five methods."""
    x, labels = inputs["x"], inputs["labels"]
    targets = np.eye(network.output.shape[-1], dtype=np.float32)[labels]
    points = int(inputs["steps"]) + 1
    gradient = _load("saliency").Saliency(network)
    path = _load("integrated_gradients").IntegratedGradients(network, steps=points, batch_size=points)
    smooth = _smooth_grad(network, inputs["noise"], inputs["spread"])
    cam = _load("grad_cam").GradCAM(network, conv_layer=target)
    scaled = _times_positions(network, target)
    plus_plus = _load("grad_cam_pp").GradCAMPP(scaled, conv_layer=target)
    return {
        "gradient": _maps(gradient.explain, x, targets),
        "integrated_gradients": np.abs(_maps(path.explain, x, targets)),
        "smooth_grad": np.abs(smooth(x, targets)),
        "grad_cam": _maps(cam.explain, x, targets),
        "grad_cam_plus_plus": _maps(plus_plus.explain, x, targets),
    }


def _load(module: str) -> Library:
    for package in UNUSED:
        if package not in sys.modules:
            spec = importlib.util.find_spec(package)
            if spec is None:
                message = f"{package} is not installed"
                raise ImportError(message)
            sys.modules[package] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"xplique.attributions.{module}")


def _times_positions(network: keras.Model, target: str) -> keras.Model:
    """Return the network with its logits times h * w of the target layer.

    The library's Grad-CAM++ has the mean of the features where the paper's eq. 19 has their sum. A score Z = h * w
    times as steep makes its alpha the paper's: (Zg)^2 / (2 (Zg)^2 + (Zg)^3 mean) = g^2 / (2 g^2 + g^3 sum).
    """
    _, height, width, _ = network.get_layer(target).output.shape
    return keras.Model(network.input, keras.layers.Rescaling(float(height * width))(network.output))


def _smooth_grad(network: keras.Model, noise: FloatArray, spread: FloatArray) -> Callable[..., FloatArray]:
    """Return SmoothGrad with our noise in place of the library's, film by film: its noise has one scale a call."""
    statistic = _load("gradient_statistics.gradient_statistic").GradientStatistic

    def perturb(inputs: tf.Tensor, samples: int, scale: float) -> tf.Tensor:
        return tf.repeat(inputs, samples, axis=0) + scale * noise

    statistic._perturb_samples = staticmethod(perturb)  # noqa: SLF001 - the one place where the library draws
    smooth_grad = _load("gradient_statistics.smoothgrad").SmoothGrad

    def explain_all(x: FloatArray, targets: FloatArray) -> FloatArray:
        methods = [smooth_grad(network, nb_samples=len(noise), noise=scale, batch_size=len(noise)) for scale in spread]
        return np.concatenate([_maps(m.explain, x[i : i + 1], targets[i : i + 1]) for i, m in enumerate(methods)])

    return explain_all


def _maps(method: Callable[..., tf.Tensor], x: FloatArray, targets: FloatArray) -> FloatArray:
    """Return the library's maps (N, H, W, 1) as (N, H, W)."""
    maps: FloatArray = method(x, targets).numpy()[..., 0]
    return maps


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    main(Path(sys.argv[2]), Path(sys.argv[3]))
