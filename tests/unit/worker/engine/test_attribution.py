"""SmoothGrad and integrated gradients by arithmetic: scores whose gradients are written out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from worker.engine.attribution import BATCH, gradient, integrated_gradients, smooth_grad, to_map
from worker.engine.explain import IntegratedGradients, SmoothGrad

X = np.random.default_rng(5).random((3, 4, 5, 2), np.float32)
LABELS = np.array([0, 1, 0])
WEIGHTS = np.random.default_rng(6).normal(size=(2, 4, 5, 2)).astype(np.float32)


def of_linear(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """S_k(x) = sum of WEIGHTS[k] x: the gradient is WEIGHTS[k] everywhere."""
    assert len(x) == len(labels)
    return WEIGHTS[labels]


def of_cube(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """S_k(x) = sum of WEIGHTS[k] x^3."""
    return 3 * WEIGHTS[labels] * x**2


def of_relu(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """S(x) = sum of relu(x - 0.5)."""
    return (x > 0.5).astype(np.float32)


def test_gradient_is_that_of_each_films_label() -> None:
    """Each film is asked with its own label."""
    np.testing.assert_array_equal(gradient(of_linear, X, LABELS), WEIGHTS[LABELS])


def test_integrated_gradients_of_a_linear_score_are_exact() -> None:
    """(x - b) w, for one step and for many, from black and from grey."""
    for how in (IntegratedGradients(1), IntegratedGradients(7, 0.25)):
        expected = (X - np.float32(how.baseline)) * WEIGHTS[LABELS]
        np.testing.assert_allclose(integrated_gradients(of_linear, X, LABELS, how), expected, rtol=1e-5)


def test_integrated_gradients_are_the_trapezoid_rule() -> None:
    """For the cube with two steps: x * 3 w x^2 * (0 / 4 + 1 / 4 / 2 + 1 / 4) = 9/8 w x^3; the integral is w x^3."""
    found = integrated_gradients(of_cube, X, LABELS, IntegratedGradients(2))
    np.testing.assert_allclose(found, 9 / 8 * WEIGHTS[LABELS] * X**3, rtol=1e-5)


def test_integrated_gradients_sum_to_the_difference_of_the_scores() -> None:
    """Completeness: the sum nears S(x) - S(b), its error with steps squared."""
    before = np.full_like(X, 0.2)
    truth = (WEIGHTS[LABELS] * (X**3 - before**3)).sum(axis=(1, 2, 3))
    errors = [
        np.abs(integrated_gradients(of_cube, X, LABELS, IntegratedGradients(n, 0.2)).sum(axis=(1, 2, 3)) - truth)
        for n in (4, 40)
    ]
    np.testing.assert_allclose(errors[1], errors[0] / 100, atol=1e-5)
    assert errors[0].min() > 1e-4


def test_smooth_grad_without_noise_is_the_gradient() -> None:
    """Noise 0: every copy is the film."""
    found = smooth_grad(of_cube, X, LABELS, SmoothGrad(samples=5, noise=0), seed=1)
    np.testing.assert_allclose(found, of_cube(X, LABELS), rtol=1e-5)


def test_smooth_grad_is_the_mean_over_the_seeds_noise() -> None:
    """The noise is the seed's normal numbers times a share of each film's own range."""
    how = SmoothGrad(samples=6, noise=0.3)
    films = X * np.array([1, 0.5, 0.1], np.float32)[:, np.newaxis, np.newaxis, np.newaxis]
    draws = np.random.default_rng(9).standard_normal((6, 4, 5, 2), np.float32)
    for film, label, found in zip(films, LABELS, smooth_grad(of_relu, films, LABELS, how, seed=9), strict=True):
        copies = film + 0.3 * (film.max() - film.min()) * draws
        np.testing.assert_allclose(found, of_relu(copies, label).mean(axis=0), rtol=1e-5)


def test_seed_decides_the_noise() -> None:
    """One seed, one map; another seed, another."""
    maps = [smooth_grad(of_relu, X, LABELS, SmoothGrad(4), seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert not np.array_equal(maps[0], maps[2])


@pytest.mark.parametrize(
    "explain",
    [
        lambda x, labels: smooth_grad(of_relu, x, labels, SmoothGrad(25), 3),
        lambda x, labels: integrated_gradients(of_cube, x, labels, IntegratedGradients()),
    ],
    ids=["smooth_grad", "integrated_gradients"],
)
def test_a_films_map_is_its_own(explain: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    """A film has the same map alone as among others."""
    together = explain(X, LABELS)
    for place in range(3):
        alone = explain(X[place : place + 1], LABELS[place : place + 1])
        np.testing.assert_allclose(alone[0], together[place], rtol=1e-5)


def test_no_call_takes_more_than_a_batch() -> None:
    """Three films of 25 copies go out in full batches, and the rest."""
    sizes: list[int] = []

    def count(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
        sizes.append(len(x))
        return of_linear(x, labels)

    smooth_grad(count, X, LABELS, SmoothGrad(25), 1)
    assert sizes == [BATCH, BATCH, 75 - 2 * BATCH]


def test_map_is_the_strongest_channel_over_its_peak() -> None:
    """|-4| of the channels -4 and 1, |2| of 2 and 0: 1 and 1/2."""
    signed = np.array([[[[-4.0, 1.0], [2.0, 0.0]]]], np.float32)
    np.testing.assert_array_equal(to_map(signed), [[[1.0, 0.5]]])


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_map_without_a_usable_peak_is_zero(value: float) -> None:
    """Nothing, NaN or infinity: zeros; its neighbour is untouched."""
    signed = np.array([[[[0.0], [value]]], [[[1.0], [-2.0]]]], np.float32)
    np.testing.assert_array_equal(to_map(signed), [[[0, 0]], [[0.5, 1]]])
