"""Grad-CAM inside the traced call: the very tensor that is classified is the one that is explained.

Only what follows the target layer is on the tape. Where that is a mean and one dense layer the gradient is the
label's column of weights, so the map costs one weighted sum. Called by `keras_engine.py` while tracing.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def grad_cam(
    head: Callable[[tf.Tensor], tf.Tensor], features: tf.Tensor, labels: int | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Logits, and Grad-CAM of each film's most probable label (Selvaraju et al. 2017, arXiv 1610.02391).

    With A (h, w, C) the features and y the largest logit: w_c = mean over positions of dy/dA_c,
    map = relu(sum_c w_c A_c), divided by its largest value. A map without a positive value is all zero.

    Args:
        head: features to logits (N, K).
        features: (N, h, w, C) float32, the target layer's output.
        labels: only the first so many logits compete for the map; None: all.

    Returns:
        logits (N, K) float32; maps (N, h, w) float32 in [0, 1].
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(features)
        logits = head(features)
        top = tf.reduce_max(logits[:, :labels], axis=1)
    gradient = tape.gradient(top, features, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
    raw = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))
    return logits, normalise(raw)


def normalise(raw: tf.Tensor) -> tf.Tensor:
    """Each map of (N, h, w), >= 0, divided by its largest value; zeros where that is 0 or not finite."""
    peak = tf.reduce_max(raw, axis=(1, 2), keepdims=True)
    usable = tf.math.is_finite(peak) & (peak > 0)
    return tf.where(usable, raw / tf.where(usable, peak, 1.0), 0.0)
