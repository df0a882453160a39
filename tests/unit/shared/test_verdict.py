"""The verdict, computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import verdict
from shared.domain import Verdict
from shared.manifest import ModelManifest, Thresholds
from tests.fakes import make_manifest

CONTRAST = np.tile(np.array([0.0, 1.0], np.float32), 8).reshape(4, 4, 1)


def make_model(**quantiles: float) -> ModelManifest:
    """A model whose thresholds are easy to reckon with."""
    given_quantiles = {"covid19": 0.5, "normal": 0.5, "viral_pneumonia": 0.5} | quantiles
    thresholds = Thresholds(min_probability=0.6, min_spread=0.1, set_quantiles=given_quantiles)
    return make_manifest().model_copy(update={"thresholds": thresholds})


def assess(*probabilities: float, film: np.ndarray = CONTRAST, **quantiles: float) -> verdict.Assessment:
    """Conclude on a film of full contrast, unless told otherwise."""
    return verdict.assess(np.array(probabilities, np.float32), film, make_model(**quantiles))


def test_calibration_is_a_softmax_of_scaled_scores() -> None:
    """Scores ln 1, ln 2, ln 5 at temperature 1 are 1/8, 2/8, 5/8; at temperature 0.5 the weights are squared."""
    logits = np.log(np.array([[1.0, 2.0, 5.0]], np.float32))
    assert verdict.calibrate(logits, 1.0)[0].tolist() == pytest.approx([1 / 8, 2 / 8, 5 / 8])
    assert verdict.calibrate(logits, 0.5)[0].tolist() == pytest.approx([1 / 30, 4 / 30, 25 / 30])


def test_calibration_stands_huge_scores() -> None:
    """1e4 does not overflow: the rows still sum to one."""
    rows = verdict.calibrate(np.array([[1e4, 0.0, -1e4], [5.0, 5.0, 5.0]], np.float32), 1.0)
    assert rows.dtype == np.float32
    assert rows[0].tolist() == [1.0, 0.0, 0.0]
    assert rows[1].tolist() == pytest.approx([1 / 3] * 3)


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=6),
    st.floats(0.25, 4, width=32),
)
def test_calibration_keeps_the_order_and_sums_to_one(scores: list[float], temperature: float) -> None:
    """A temperature changes how sure the model is, never what it would choose."""
    (row,) = verdict.calibrate(np.array([scores], np.float32), temperature)
    assert math.isclose(float(row.sum()), 1.0, rel_tol=1e-5)
    assert row[int(np.argmax(scores))] == row.max()


def test_a_label_is_in_the_set_up_to_its_quantile() -> None:
    """1 - p <= quantile: 0.5 is in at a quantile of 0.5 and out at 0.49; the most probable comes first."""
    shares = {"covid19": 0.25, "normal": 0.5, "viral_pneumonia": 0.25}
    everything = {"covid19": 0.8, "normal": 0.5, "viral_pneumonia": 0.1}
    assert verdict.prediction_set(shares, everything) == ("normal", "covid19")
    assert verdict.prediction_set(shares, everything | {"normal": 0.49}) == ("covid19",)
    assert verdict.prediction_set(shares, dict.fromkeys(shares, 0.0)) == ()


def test_a_clear_leader_is_the_verdict() -> None:
    """0.7 is above the threshold, alone in its set: no reason for doubt."""
    found = assess(0.2, 0.7, 0.1)
    assert found.verdict is Verdict.NORMAL
    assert found.prediction_set == ("normal",)
    assert found.reasons == ()
    assert found.probabilities == pytest.approx({"covid19": 0.2, "normal": 0.7, "viral_pneumonia": 0.1})


def test_below_the_threshold_the_model_abstains() -> None:
    """0.59 leads but is less than 0.6."""
    found = assess(0.3, 0.59, 0.11)
    assert (found.verdict, found.reasons) == (Verdict.UNCERTAIN, (verdict.LOW_PROBABILITY,))


def test_at_the_threshold_it_does_not() -> None:
    """Exactly the threshold, 0.625 of 0.625, is enough."""
    model = make_model().model_copy(
        update={"thresholds": make_model().thresholds.model_copy(update={"min_probability": 0.625})}
    )
    found = verdict.assess(np.array([0.25, 0.625, 0.125], np.float32), CONTRAST, model)
    assert found.verdict is Verdict.NORMAL


def test_two_labels_in_the_set_are_ambiguous() -> None:
    """A probable leader beside a label that the set cannot exclude."""
    found = assess(0.2, 0.7, 0.1, covid19=0.9)
    assert found.prediction_set == ("normal", "covid19")
    assert (found.verdict, found.reasons) == (Verdict.UNCERTAIN, (verdict.AMBIGUOUS_SET,))


def test_both_doubts_are_told() -> None:
    """Low and ambiguous, in this order."""
    found = assess(0.45, 0.5, 0.05, covid19=0.9)
    assert found.reasons == (verdict.LOW_PROBABILITY, verdict.AMBIGUOUS_SET)


def test_a_film_without_contrast_is_not_assessable() -> None:
    """However sure the network is of grey, there is nothing to see."""
    found = assess(0.98, 0.01, 0.01, film=np.full((4, 4, 1), 0.5, np.float32))
    assert (found.verdict, found.reasons) == (Verdict.NOT_ASSESSABLE, (verdict.LOW_CONTRAST,))
    assert found.probabilities["covid19"] == pytest.approx(0.98)


def test_as_many_probabilities_as_labels() -> None:
    """A network of another size is refused, not cut to fit."""
    with pytest.raises(ValueError, match="zip"):
        assess(0.5, 0.5)
