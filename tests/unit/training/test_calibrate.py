"""Temperature and thresholds from validation scores: known temperatures come back, promised shares are kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared.domain import Evidence, Verdict
from shared.verdict import assess, calibrate, prediction_set
from tests.fakes import make_manifest
from training.calibrate import CalibrationSet, Targets, choose_thresholds, conformal_quantile, fit_temperature, log_loss
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


def hold(logits: np.ndarray, truth: np.ndarray, spread: float = 1.0) -> CalibrationSet:
    """Validation films that all have the same contrast."""
    return CalibrationSet(logits.astype(np.float32), truth, np.full(len(truth), spread, np.float32))


def certain(top: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Logits that give the true of three labels the probability `top` at temperature 1."""
    logits = np.zeros((len(truth), 3))
    logits[np.arange(len(truth)), truth] = np.log(2 * top / (1 - top))
    return logits


def test_sets_cover_each_class_on_fresh_films() -> None:
    """On films not calibrated on, each class's set holds the truth about 90 % of the time."""
    logits, truth = draw(4000, 1.0, 2)
    temperature, chosen = choose_thresholds(hold(logits, truth), LABELS, Targets(0.9, 0.9))
    fresh, right = draw(4000, 1.0, 3)
    for index, label in enumerate(LABELS):
        rows = calibrate(fresh, temperature)[right == index]
        sets = [prediction_set(dict(zip(LABELS, map(float, row), strict=True)), chosen.set_quantiles) for row in rows]
        assert np.mean([label in held for held in sets]) == pytest.approx(0.9, abs=0.03)


def test_threshold_leaves_the_aimed_share_a_verdict() -> None:
    """Of well separated films the least sure tenth loses its verdict, no more; blanks are far below any film."""
    rng = np.random.default_rng(5)
    top, truth = rng.uniform(0.6, 0.999, 1000), rng.integers(0, 3, 1000)
    logits = certain(top, truth)
    temperature, chosen = choose_thresholds(hold(logits, truth, 0.3), LABELS, Targets(0.9, 0.9))
    tops = calibrate(logits.astype(np.float32), temperature).max(axis=1)
    assert np.mean(tops >= chosen.min_probability) == pytest.approx(0.9, abs=0.03)
    assert chosen.min_spread == pytest.approx(0.15)


@pytest.mark.parametrize("aimed", [0.5, 0.9])
def test_the_aimed_share_is_the_verdicts_own(aimed: float) -> None:
    """What `assess` concludes of the validation films at these thresholds: that share has a verdict, hardly more.

    COVID-19 films are sure and normal ones are not, so that an unsure film that leans to COVID-19 is in the set of
    normal alone; a rival alone is as good as a rival beside the leader.
    """
    rng = np.random.default_rng(7)
    truth = np.repeat([0, 1, 2], [200, 300, 100])
    top = np.concatenate([rng.uniform(0.9, 0.99, 200), rng.uniform(0.35, 0.95, 300), rng.uniform(0.8, 0.99, 100)])
    rows = np.full((600, 3), 0.004)
    rows[np.arange(600), truth] = top
    rows[np.arange(600), np.array([1, 0, 1])[truth]] = 1 - top - 0.004
    logits = np.log(rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)
    temperature, chosen = choose_thresholds(hold(logits, truth), LABELS, Targets(aimed, 0.9))
    manifest = make_manifest().model_copy(update={"thresholds": chosen})
    told = [
        assess(Evidence(row, 0.0, 0.0, 0.0, 1.0, 1.0, was_inverted=False), manifest)
        for row in calibrate(logits, temperature)
    ]
    leaders = [max(found.probabilities, key=found.probabilities.__getitem__) for found in told]
    alone = [found.prediction_set for found, leader in zip(told, leaders, strict=True) if leader == "covid19"]
    assert ("normal",) in alone
    assert np.mean([found.verdict is not Verdict.UNCERTAIN for found in told]) == pytest.approx(aimed, abs=0.003)


def test_too_ambiguous_validation_asks_nothing_more() -> None:
    """Where every set holds several labels, no probability can help: the threshold is 0."""
    _, chosen = choose_thresholds(hold(np.zeros((6, 3)), np.arange(6) % 3), LABELS, Targets(0.9, 0.9))
    assert chosen.min_probability == 0


def test_perfect_separation_leaves_room_for_fresh_films() -> None:
    """Where validation films are all certain, the thresholds still admit a fresh film at 0.995."""
    truth = np.arange(60) % 3
    _, chosen = choose_thresholds(hold(100 * np.eye(3)[truth], truth), LABELS, Targets(0.9, 0.9))
    assert chosen.min_probability <= 0.99
    assert min(chosen.set_quantiles.values()) >= 0.01


def test_without_other_output_and_gate_there_are_no_limits_for_them() -> None:
    """None, not a number that nothing is compared with."""
    truth = np.arange(60) % 3
    _, chosen = choose_thresholds(hold(9 * np.eye(3)[truth], truth), LABELS, Targets(0.9, 0.9))
    assert (chosen.max_other, chosen.max_film_distance, chosen.max_feature_distance) == (None, None, None)


def draw_with_others(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits and truth of certain films, half of the viral ones like `count` others of four outputs; who leads each.

    Of the others three in four look like viral pneumonia and the rest like COVID-19.
    """
    rng = np.random.default_rng(6)
    truth = np.concatenate([np.arange(300) % 3, np.full(count, 3)])
    leader = np.where(truth < 3, truth, np.where(np.arange(300 + count) % 4 == 0, 0, 2))
    logits = np.zeros((300 + count, 4))
    logits[np.arange(len(truth)), leader] = 8.0
    logits[:300, 3], logits[300:, 3] = rng.normal(-6, 2, 300), rng.normal(6, 3, count)
    unsure = (np.arange(300) % 3 == 2) & (np.arange(300) % 2 == 0)
    logits[:300][unsure, 3] = rng.normal(4, 3, int(unsure.sum()))
    return logits, truth, leader


@pytest.mark.parametrize("allowed", [0.0, 0.05, 0.3])
def test_no_more_other_findings_pass_than_allowed(allowed: float) -> None:
    """Over all labels together; what is not allowed costs the viral films alone, which the others look like.

    Never more of our films lose their verdict than by one limit for all labels.
    """
    logits, truth, leader = draw_with_others(100)
    temperature, chosen = choose_thresholds(hold(logits, truth), LABELS, Targets(0.95, 0.9, allowed))
    assert chosen.max_other is not None
    other = calibrate(logits.astype(np.float32), temperature)[:, 3]
    passes = other < np.array([chosen.max_other[LABELS[place]] for place in leader])
    assert passes[300:].sum() <= 100 * allowed
    assert passes[:300][truth[:300] < 2].mean() > 0.98
    one_limit = min(0.5, np.sort(other[300:])[int(100 * allowed)])
    assert passes[:300].sum() >= (other[:300] < one_limit).sum()
    viral = passes[:300][truth[:300] == 2].mean()
    assert 0.4 <= viral < 1


def test_nothing_is_let_through_for_nothing() -> None:
    """Where our films lose nothing by the strictest limits, no other finding passes although some might."""
    truth = np.concatenate([np.arange(300) % 3, np.full(100, 3)])
    logits = np.zeros((400, 4))
    logits[np.arange(400), truth % 3] = 8.0
    logits[:300, 3], logits[300:, 3] = -8.0, np.random.default_rng(6).normal(6, 3, 100)
    temperature, chosen = choose_thresholds(hold(logits, truth), LABELS, Targets(0.95, 0.9, 0.1))
    assert chosen.max_other is not None
    assert calibrate(logits.astype(np.float32), temperature)[300:, 3].min() >= chosen.max_other["covid19"]


def test_gate_limits_are_passed_by_the_aimed_share() -> None:
    """The 95 % quantile of each of the two distances."""
    truth = np.arange(100) % 3
    distances = np.stack([np.arange(100), np.arange(100) * -2], axis=1).astype(np.float32)
    held = replace(hold(9 * np.eye(3)[truth], truth), gate=distances)
    _, chosen = choose_thresholds(held, LABELS, Targets(0.9, 0.9, gate_pass=0.95))
    assert chosen.max_film_distance == pytest.approx(94.05)
    assert chosen.max_feature_distance == pytest.approx(-9.9)


def test_changed_copies_do_not_widen_the_sets() -> None:
    """Copies that all look wrong: the quantiles are those of the films alone, the temperature is not."""
    logits, truth = draw(400, 1.0, 5)
    both = np.concatenate([logits, -logits])
    held = replace(hold(both, np.tile(truth, 2)), is_changed=np.repeat([False, True], 400))
    temperature, chosen = choose_thresholds(held, LABELS, Targets(0.9, 0.9))
    scores = calibrate(logits, temperature)
    expected = conformal_quantile(1 - scores[truth == 0, 0], 0.9)
    assert chosen.set_quantiles[LABELS[0]] == pytest.approx(expected)
    assert temperature > choose_thresholds(hold(logits, truth), LABELS, Targets(0.9, 0.9))[0]
