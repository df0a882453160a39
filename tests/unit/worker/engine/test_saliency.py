"""Grad-CAM by hand: a 2 x 2 map of two channels, mean pooling and one dense layer, the expected map written out."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from worker.engine.saliency import grad_cam, grad_cam_map, grad_cam_plus_plus_map, gradient_of, normalise

FEATURES = np.array(
    [
        [[1.0, 0.0], [2.0, 4.0]],
        [[0.0, 1.0], [4.0, 2.0]],
    ],
    np.float32,
)
"""(2, 2, 2): channel means are 1.75 and 1.75."""


def explain(kernel: list[list[float]], features: np.ndarray, bias: tuple[float, ...] = (0.0, 0.0)) -> tuple:
    """Logits and maps of mean pooling followed by a dense layer (channels, labels)."""

    def head(x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(x, axis=(1, 2)) @ tf.constant(kernel) + tf.constant(bias)

    logits, maps = grad_cam(head, tf.constant(features))
    return logits.numpy(), maps.numpy()


def test_grad_cam_is_the_weighted_sum_of_the_channels() -> None:
    """Label 0 leads with weights (2, -1) per channel: relu(2 a - b) / its peak, written out."""
    logits, maps = explain([[2.0, 0.0], [-1.0, 0.0]], FEATURES[np.newaxis])
    np.testing.assert_allclose(logits, [[1.75, 0.0]])
    # 2a - b: [[2, 0], [-1, 6]]; relu, divided by 6
    np.testing.assert_allclose(maps, [[[2 / 6, 0.0], [0.0, 1.0]]], rtol=1e-6)


def test_grad_cam_explains_the_most_probable_label() -> None:
    """With the bias on label 1 the map is that of label 1's weights (0, 1)."""
    _, maps = explain([[2.0, 0.0], [-1.0, 1.0]], FEATURES[np.newaxis], bias=(0.0, 9.0))
    np.testing.assert_allclose(maps, [[[0.0, 1.0], [0.25, 0.5]]], rtol=1e-6)


def test_all_negative_weights_give_zeros() -> None:
    """Nothing speaks for the label: zeros, not NaN."""
    _, maps = explain([[-1.0, -2.0], [-1.0, -2.0]], FEATURES[np.newaxis])
    assert np.array_equal(maps, np.zeros((1, 2, 2)))


def test_a_head_without_gradient_gives_zeros() -> None:
    """Logits that do not depend on the features give zeros, not None or NaN."""
    logits, maps = grad_cam(lambda x: tf.zeros((x.shape[0], 2)), tf.constant(FEATURES[np.newaxis]))
    assert logits.shape == (1, 2)
    assert np.array_equal(maps.numpy(), np.zeros((1, 2, 2)))


def test_films_of_a_batch_do_not_see_each_other() -> None:
    """Each film's map is the one it has alone."""
    batch = np.stack([FEATURES, FEATURES[::-1] * 3, -FEATURES])
    kernel = [[2.0, 0.5], [-1.0, 0.5]]
    together = explain(kernel, batch)[1]
    alone = [explain(kernel, film[np.newaxis])[1][0] for film in batch]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_infinite_maps_become_zeros() -> None:
    """A map whose peak is not finite is all zero; its neighbour is untouched."""
    raw = tf.constant([[[1.0, float("inf")]], [[1.0, 2.0]]])
    np.testing.assert_allclose(normalise(raw).numpy(), [[[0.0, 0.0]], [[0.5, 1.0]]])


def plus_plus_by_the_paper(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Chattopadhay et al., arXiv 1710.11063, eq. 5, 6 and 19 as they stand, for Y = exp(S), S = sum of weights A.

    features, weights: (h, w, C) float64. The derivatives of Y are Y g, Y g^2 and Y g^3 with g = weights.
    """
    y = np.exp((weights * features).sum())
    first, second, third = y * weights, y * weights**2, y * weights**3
    w = np.zeros(features.shape[2])
    for k in range(features.shape[2]):
        for i, j in np.ndindex(features.shape[:2]):
            alpha = second[i, j, k] / (2 * second[i, j, k] + features[:, :, k].sum() * third[i, j, k])
            w[k] += alpha * max(first[i, j, k], 0)
    raw = np.maximum((w * features).sum(axis=2), 0)
    return raw / raw.max()


def test_grad_cam_plus_plus_is_the_papers_formula() -> None:
    """Three films, four channels, a gradient that differs from place to place: loops of the paper give the same."""
    rng = np.random.default_rng(2)
    features = rng.random((3, 5, 4, 4))
    weights = rng.normal(size=(5, 4, 4))
    gradient = np.broadcast_to(weights, features.shape)
    found = grad_cam_plus_plus_map(tf.constant(features, tf.float32), tf.constant(gradient, tf.float32)).numpy()
    np.testing.assert_allclose(found, [plus_plus_by_the_paper(film, weights) for film in features], atol=1e-5)


def test_grad_cam_plus_plus_holds_where_its_denominator_is_zero() -> None:
    """2 + g sum A = 0 at one place: that place weighs nothing, and the map stays finite."""
    features = tf.constant([[[[-2.0]], [[1.0]]]])  # sum -1
    gradient = tf.constant([[[[2.0]], [[1.0]]]])  # 2 + 2 * -1 = 0; 2 + 1 * -1 = 1, alpha 1, w = 1
    np.testing.assert_allclose(grad_cam_plus_plus_map(features, gradient).numpy(), [[[0.0], [1.0]]])


def test_maps_of_a_score_without_gradient_are_zeros() -> None:
    """Nothing depends on the features: zeros from both."""
    features = tf.constant(FEATURES[np.newaxis])
    gradient = gradient_of(lambda x: tf.zeros((x.shape[0],)), features)
    for make in (grad_cam_map, grad_cam_plus_plus_map):
        assert np.array_equal(make(features, gradient).numpy(), np.zeros((1, 2, 2)))


def test_gradient_is_that_of_each_film() -> None:
    """S = sum of x^2: the gradient is 2 x, film by film."""
    x = np.random.default_rng(1).random((3, 2, 2, 1), np.float32)
    found = gradient_of(lambda rows: tf.reduce_sum(rows**2, axis=(1, 2, 3)), tf.constant(x)).numpy()
    np.testing.assert_allclose(found, 2 * x, rtol=1e-6)
