"""The arithmetic of the measurements, against numbers worked out by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from training.metrics import (
    balanced_accuracy,
    bootstrap,
    confusion_matrix,
    expected_calibration_error,
    f1,
    macro_f1,
    reliability,
    roc_auc,
    share,
    wilson,
)

ALONE = [str(place) for place in range(400)]
"""Groups of one film each."""

TRUTH = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2])
CHOSEN = np.array([0, 0, 0, 1, 1, 1, 2, 2, 0, 1])
CONFUSION = np.array([[3, 1, 0], [0, 2, 0], [1, 1, 2]])


def test_confusion_has_truth_in_rows() -> None:
    """Row = true label, column = chosen label."""
    assert np.array_equal(confusion_matrix(TRUTH, CHOSEN, 3), CONFUSION)


def test_balanced_accuracy_is_the_mean_recall() -> None:
    """(3/4 + 2/2 + 2/4) / 3."""
    assert balanced_accuracy(CONFUSION) == pytest.approx(0.75)


def test_macro_f1_is_the_mean_of_the_labels_f1() -> None:
    """F1 = 6/8, 4/6, 4/6."""
    assert macro_f1(CONFUSION) == pytest.approx((6 / 8 + 4 / 6 + 4 / 6) / 3)


def test_label_without_films_is_left_out() -> None:
    """A label no film has takes no part in the means, though films were called it."""
    confusion = np.array([[8, 0, 2], [0, 10, 0], [0, 0, 0]])
    assert balanced_accuracy(confusion) == pytest.approx(0.9)
    assert macro_f1(confusion) == pytest.approx((16 / 18 + 1) / 2)


def test_numbers_are_those_of_scikit_learn() -> None:
    """On random answers the three agree with another implementation."""
    rng = np.random.default_rng(4)
    truth, chosen = rng.integers(0, 3, (2, 200))
    confusion = confusion_matrix(truth, chosen, 3)
    assert np.array_equal(confusion, sk.confusion_matrix(truth, chosen))
    assert balanced_accuracy(confusion) == pytest.approx(sk.balanced_accuracy_score(truth, chosen))
    assert macro_f1(confusion) == pytest.approx(sk.f1_score(truth, chosen, average="macro"))


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
        (95, 100, 0.8882, 0.9785),
    ],
)
def test_wilson_interval_is_the_published_one(hits: int, n: int, low: float, high: float) -> None:
    """95 % score intervals, to four places."""
    rate = wilson(hits, n)
    assert (rate.low, rate.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert rate.n == n


def test_calibration_error_by_hand() -> None:
    """Two bins: four films at 0.9 of which three are right, one at 0.6 that is right."""
    top = np.array([0.9, 0.9, 0.9, 0.9, 0.6])
    probabilities = np.stack([top, 1 - top], axis=1).astype(np.float32)
    truth = np.array([0, 0, 0, 1, 0])
    expected = 4 / 5 * abs(0.75 - 0.9) + 1 / 5 * abs(1.0 - 0.6)
    assert expected_calibration_error(probabilities, truth) == pytest.approx(expected, abs=1e-6)


def test_sure_and_right_has_no_calibration_error() -> None:
    """Probability 1 and always right: 0; the edge of the last bin belongs to it."""
    assert expected_calibration_error(np.eye(3, dtype=np.float32), np.arange(3)) == 0


def test_reliability_bins_hold_probability_and_share_right() -> None:
    """Four films at 0.9, three right, and one at 0.6, right: two bins, the lower first, each with its interval."""
    top = np.array([0.9, 0.9, 0.9, 0.9, 0.6])
    scores = np.stack([top, 1 - top], axis=1).astype(np.float32)
    low, high = reliability(scores, np.array([0, 0, 0, 1, 0]), list("abcde"))
    assert (low.probability, high.probability) == pytest.approx((0.6, 0.9), abs=1e-6)
    assert (low.accuracy, high.accuracy) == (wilson(1, 1), wilson(3, 4))


def test_reliability_knows_which_films_are_of_one_group() -> None:
    """Four films of two patients tell less than four of four."""
    scores = np.full((4, 2), (0.9, 0.1), np.float32)
    truth = np.array([0, 0, 1, 1])
    (together,), (apart,) = (reliability(scores, truth, groups) for groups in (list("aabb"), list("abcd")))
    assert together.accuracy.value == apart.accuracy.value == 0.5
    assert together.accuracy.high - together.accuracy.low > apart.accuracy.high - apart.accuracy.low


def test_roc_area_is_scikit_learns_ties_included() -> None:
    """Random scores of one decimal, so that many are equal."""
    rng = np.random.default_rng(5)
    scores = rng.random(300).round(1).astype(np.float32)
    is_positive = rng.random(300) < scores
    assert roc_auc(scores, is_positive) == pytest.approx(sk.roc_auc_score(is_positive, scores))
    assert np.isnan(roc_auc(scores, np.ones(300, bool)))


def test_bootstrap_of_a_share_is_close_to_its_normal_interval() -> None:
    """300 of 400: 0.75 +- 1.96 sqrt(0.75 * 0.25 / 400) = 0.7076 to 0.7924, within what 1,000 draws move."""
    is_hit = np.arange(400) < 300
    low, high = bootstrap(lambda films: float(is_hit[films].mean()), ALONE)
    assert low == pytest.approx(0.7076, abs=0.008)
    assert high == pytest.approx(0.7924, abs=0.008)
    assert (low, high) == bootstrap(lambda films: float(is_hit[films].mean()), ALONE)


def test_bootstrap_holds_the_measure_itself_and_leaves_nan_out() -> None:
    """A measure that is least on the films as they are; one that is nan whenever film 0 is not drawn."""
    low, _ = bootstrap(lambda films: 1.0 - len(set(films.tolist())) / 20, ALONE[:20])
    assert low == 0.0
    ends = bootstrap(lambda films: 1.0 if 0 in films else np.nan, ALONE[:20])
    assert ends == (1.0, 1.0)


def test_films_of_one_patient_alone_settle_nothing() -> None:
    """All that the measure can be, as far as they tell: drawn again they would be the same films each time."""
    assert bootstrap(lambda _: 0.75, ["p"] * 12) == (0.0, 1.0)
    assert bootstrap(lambda _: 1.5, ["p"], ends=(0.0, 3.0)) == (0.0, 3.0)


def test_films_of_one_patient_count_once_where_they_go_right_and_wrong_together() -> None:
    """40 patients of ten films, all of a patient's films alike: the intervals are those of 40 films, not of 400."""
    is_hit = np.repeat(np.arange(40) < 30, 10)
    groups = [str(place // 10) for place in range(400)]
    found, alone, few = share(is_hit, groups), wilson(300, 400), wilson(30, 40)
    assert (found.value, found.n) == (alone.value, alone.n)
    assert found.low == pytest.approx(few.low, abs=0.005)
    assert found.high == pytest.approx(few.high, abs=0.005)
    low, high = bootstrap(lambda films: float(is_hit[films].mean()), groups)
    assert high - low == pytest.approx(few.high - few.low, abs=0.03)


def test_films_of_patients_that_go_either_way_are_as_good_as_alone() -> None:
    """Never narrower than Wilson's interval of independent films, and equal to it where each group is one film."""
    rng = np.random.default_rng(4)
    is_hit = rng.random(300) < 0.8
    alone = wilson(int(is_hit.sum()), 300)
    assert share(is_hit, [str(place) for place in range(300)]) == alone
    spread = share(is_hit, [str(place % 150) for place in range(300)])
    assert spread.low <= alone.low
    assert spread.high >= alone.high


@pytest.mark.parametrize("hits", [0, 12])
def test_without_a_single_miss_or_hit_each_patient_counts_once(hits: int) -> None:
    """12 films of 3 patients, all alike: the interval of 3; of none there is the whole of it."""
    found = share(np.full(12, hits > 0), [str(place % 3) for place in range(12)])
    ends = wilson(3 if hits else 0, 3)
    assert (found.low, found.high, found.n) == (ends.low, ends.high, 12)
    assert share(np.zeros(0, bool), []) == wilson(0, 0)


def test_f1_of_each_label_by_hand() -> None:
    """2 right, 1 missed, 1 too many: 4 / 6; a label that no film has or is given: 0."""
    confusion = np.array([[2, 1, 0], [1, 3, 0], [0, 0, 0]])
    assert f1(confusion).tolist() == pytest.approx([4 / 6, 6 / 8, 0])
