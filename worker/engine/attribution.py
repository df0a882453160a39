"""Attribution of the score to pixels: the plain gradient, SmoothGrad, integrated gradients. numpy only.

All are weighted sums of gradients at points near the film; a callable computes the gradients. The points of all films
share one stream of batches, so that at most `BATCH` inputs are on the tape, whatever the number of films and points.
Called by `keras_explainer.py`. Attributions are signed and have the score's unit; `to_map` turns them into maps.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Final

import numpy as np

from shared.arrays import FloatArray
from worker.engine.explain import IntegratedGradients, Labels, SmoothGrad

BATCH: Final = 32
"""Inputs a gradient call."""

Gradients = Callable[[FloatArray, Labels], FloatArray]
"""Inputs (M, H, W, C) float32 and label indices (M,) to d score / d input (M, H, W, C) float32."""


def gradient(gradients: Gradients, x: FloatArray, labels: Labels) -> FloatArray:
    """Return the gradient d score / d input at the film (Simonyan et al. 2013, arXiv 1312.6034): (N, H, W, C)."""
    return _weighted_sum(gradients, labels, lambda film, _: x[film], np.ones(1, np.float32))


def smooth_grad(gradients: Gradients, x: FloatArray, labels: Labels, how: SmoothGrad, seed: int) -> FloatArray:
    """Return the mean gradient over noisy copies of each film (Smilkov et al. 2017, arXiv 1706.03825): (N, H, W, C).

    M(x) = 1/n sum_k dS/dx(x + g_k), g_k ~ N(0, s^2), s = `how.noise` times the film's range. All films get the same
    noise, times their own s, so that a film's map does not depend on the other films of the batch.
    """
    noise = np.random.default_rng(seed).standard_normal((how.samples, *x.shape[1:]), np.float32)
    spread = np.float32(how.noise) * np.ptp(x, axis=(1, 2, 3))
    weights = np.full(how.samples, 1 / how.samples, np.float32)
    return _weighted_sum(gradients, labels, lambda film, k: x[film] + spread[film] * noise[k], weights)


def integrated_gradients(gradients: Gradients, x: FloatArray, labels: Labels, how: IntegratedGradients) -> FloatArray:
    """Return (x - b) times the mean gradient on the straight path from b to x: (N, H, W, C).

    Sundararajan et al. 2017, arXiv 1703.01365, by the trapezoid rule on `how.steps` intervals (Sotoudeh & Thakur
    2019, arXiv 1908.06214, find it closer than a Riemann sum). Completeness: the attributions of a film sum to
    S(x) - S(b) as steps grow.
    """
    share = np.linspace(0, 1, how.steps + 1, dtype=np.float32)
    weights = np.full(how.steps + 1, 1 / how.steps, np.float32)
    weights[[0, -1]] /= 2
    start = np.float32(how.baseline)
    path = x - start
    return path * _weighted_sum(gradients, labels, lambda film, k: start + share[k] * path[film], weights)


def _weighted_sum(
    gradients: Gradients, labels: Labels, point: Callable[[int, int], FloatArray], weights: FloatArray
) -> FloatArray:
    """Return sum_k weights[k] * gradient at point(film, k), for each film."""
    pairs = list(product(range(len(labels)), range(len(weights))))
    total = np.zeros((len(labels), *point(0, 0).shape), np.float32)
    for start in range(0, len(pairs), BATCH):
        batch = pairs[start : start + BATCH]
        points = np.stack([point(film, k) for film, k in batch])
        batch_gradients = gradients(points, labels[[film for film, _ in batch]])
        for (film, k), values in zip(batch, batch_gradients, strict=True):
            total[film] += weights[k] * values
    return total


def to_map(attributions: FloatArray) -> FloatArray:
    """Return maps (N, H, W) float32 in [0, 1] of signed attributions (N, H, W, C).

    A map is the largest |value| over the channels, scaled to peak 1. It is all zero where every attribution is 0, or
    where one is not finite.
    """
    return over_peak(np.abs(attributions).max(axis=-1))


def over_peak(maps: FloatArray) -> FloatArray:
    """Return each map of (N, h, w), >= 0, divided by its largest value; zeros where that is 0 or not finite."""
    peak = maps.max(axis=(1, 2), keepdims=True)
    is_usable = np.isfinite(peak) & (peak > 0)
    scaled = np.divide(maps, peak, out=np.zeros_like(maps), where=is_usable)
    return scaled.astype(np.float32, copy=False)
