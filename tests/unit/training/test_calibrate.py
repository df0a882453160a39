"""Temperature and thresholds from validation scores: known temperatures come back, promised shares are kept."""

from __future__ import annotations

import numpy as np
import pytest

from shared.verdict import calibrate, prediction_set
from training.calibrate import choose_thresholds, conformal_quantile, fit_temperature, log_loss
from training.recipe import LABELS


def draw(count: int, sharpness: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is the true chance of each label, times `sharpness`; and labels drawn from it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (count, 3)).astype(np.float32)
    chances = calibrate(logits, 1.0)
    truth = np.array([rng.choice(3, p=row / row.sum()) for row in chances.astype(np.float64)])
    return logits * np.float32(sharpness), truth


@pytest.mark.parametrize("sharpness", [0.7, 1.0, 3.0])
def test_temperature_undoes_overconfidence(sharpness: float) -> None:
    """Logits that were multiplied by s need temperature s."""
    logits, truth = draw(6000, sharpness, 1)
    assert fit_temperature(logits, truth) == pytest.approx(sharpness, rel=0.08)


def test_log_loss_weighs_classes_evenly() -> None:
    """Three films of one class count as much as one of the other."""
    probabilities = np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.8, 0.2]], np.float32)
    expected = (-np.log(0.5) - np.log(0.2)) / 2
    assert log_loss(probabilities, np.array([0, 0, 0, 1])) == pytest.approx(expected, rel=1e-6)


def test_conformal_quantile_is_the_promised_rank() -> None:
    """Of 19 values the ceil(20 * 0.9) = 18th smallest; of too few, everything enters."""
    assert conformal_quantile(np.arange(1, 20) / 100, 0.9) == 0.18
    assert conformal_quantile(np.arange(1, 9) / 100, 0.9) == 1.0


def test_sets_cover_each_class_on_fresh_films() -> None:
    """On films not calibrated on, each class's set holds the truth about 90 % of the time."""
    logits, truth = draw(4000, 1.0, 2)
    chosen = choose_thresholds(calibrate(logits, 1.0), truth, np.ones(4000, np.float32), LABELS, (0.9, 0.9))
    fresh, right = draw(4000, 1.0, 3)
    for index, label in enumerate(LABELS):
        rows = calibrate(fresh, 1.0)[right == index]
        sets = [prediction_set(dict(zip(LABELS, map(float, row), strict=True)), chosen.set_quantiles) for row in rows]
        assert np.mean([label in held for held in sets]) == pytest.approx(0.9, abs=0.03)


def test_threshold_leaves_the_aimed_share_a_verdict() -> None:
    """Of well separated films the least sure tenth loses its verdict, no more."""
    rng = np.random.default_rng(5)
    top = rng.uniform(0.6, 0.999, 1000).astype(np.float32)
    truth = rng.integers(0, 3, 1000)
    probabilities = np.repeat(((1 - top) / 2)[:, np.newaxis], 3, axis=1)
    probabilities[np.arange(1000), truth] = top
    chosen = choose_thresholds(probabilities, truth, np.full(1000, 0.3, np.float32), LABELS, (0.9, 0.9))
    assert np.mean(top >= chosen.min_probability) == pytest.approx(0.9, abs=0.002)
    assert chosen.min_spread == pytest.approx(0.15)


def test_too_ambiguous_validation_asks_nothing_more() -> None:
    """Where every set holds several labels, no probability can help: the threshold is 0."""
    probabilities = np.full((6, 3), 1 / 3, np.float32)
    chosen = choose_thresholds(probabilities, np.arange(6) % 3, np.ones(6, np.float32), LABELS, (0.9, 0.9))
    assert chosen.min_probability == 0


def test_perfect_separation_leaves_room_for_fresh_films() -> None:
    """Where validation films are all certain, the thresholds still admit a fresh film at 0.995."""
    probabilities = np.eye(3, dtype=np.float32)[np.arange(60) % 3]
    chosen = choose_thresholds(probabilities, np.arange(60) % 3, np.ones(60, np.float32), LABELS, (0.9, 0.9))
    assert chosen.min_probability <= 0.99
    assert min(chosen.set_quantiles.values()) >= 0.01
