"""Grad-CAM inside the traced call: the tensor that is classified is the tensor that is explained.

Only the rows after the target layer are on the tape. Where that is a mean and one dense layer the gradient is the
label's column of weights, so the map costs one weighted sum. Called by `keras_engine.py` and `keras_explainer.py`
while tracing.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

Score = Callable[[tf.Tensor], tf.Tensor]
"""A batch (N, ...) to one number a film, (N,): a label's logit."""


def grad_cam(
    head: Callable[[tf.Tensor], tf.Tensor], features: tf.Tensor, labels: int | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the logits, and Grad-CAM of each film's most probable label; see `grad_cam_map`.

    Args:
        head: features to logits (N, K).
        features: (N, h, w, C) float32, the target layer's output.
        labels: the map is of the largest of the first `labels` logits; None: of all logits.

    Returns:
        logits (N, K) float32; maps (N, h, w) float32 in [0, 1].
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(features)
        logits = head(features)
        top = tf.reduce_max(logits[:, :labels], axis=1)
    gradient = tape.gradient(top, features, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return logits, grad_cam_map(features, gradient)


def gradient_of(score: Score, x: tf.Tensor) -> tf.Tensor:
    """Return the gradient d score / d x, of the shape of x; zeros where the score does not depend on x."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        value = score(x)
    return tape.gradient(value, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def grad_cam_map(features: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Return Grad-CAM maps (Selvaraju et al. 2017, arXiv 1610.02391): (N, h, w) float32 in [0, 1].

    With A (h, w, C) the features and g = dS/dA the gradient of the label's logit: w_c = mean over positions of g_c,
    map = relu(sum_c w_c A_c), divided by its largest value. A map without a positive value is all zero.
    """
    weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
    return _weighed(features, weights)


def grad_cam_plus_plus_map(features: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Return Grad-CAM++ maps (Chattopadhay et al. 2018, arXiv 1710.11063): (N, h, w) float32 in [0, 1].

    With Y = exp(S) as in the paper's section 3.2, and so d2Y/dA2 = Y g^2 and d3Y/dA3 = Y g^3:
    w_c = sum over positions of alpha relu(Y g), alpha = g^2 / (2 g^2 + g^3 sum_ab A_ab) = 1 / (2 + g sum_ab A_ab).
    Y is one positive factor a film and cancels when the map is divided by its largest value, so it is left out.
    """
    mass = tf.reduce_sum(features, axis=(1, 2), keepdims=True)
    alpha = tf.math.divide_no_nan(1.0, 2.0 + gradient * mass)
    weights = tf.reduce_sum(alpha * tf.nn.relu(gradient), axis=(1, 2), keepdims=True)
    return _weighed(features, weights)


def _weighed(features: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    return normalise(tf.nn.relu(tf.reduce_sum(weights * features, axis=-1)))


def normalise(raw: tf.Tensor) -> tf.Tensor:
    """Return each map of (N, h, w), >= 0, divided by its largest value; zeros where that is 0 or not finite."""
    peak = tf.reduce_max(raw, axis=(1, 2), keepdims=True)
    usable = tf.math.is_finite(peak) & (peak > 0)
    return tf.where(usable, raw / tf.where(usable, peak, 1.0), 0.0)
