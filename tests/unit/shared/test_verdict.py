"""The verdict, computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import verdict
from shared.domain import Evidence, Verdict
from shared.manifest import ModelManifest, Thresholds
from tests.fakes import make_manifest

PLAIN = Evidence(
    probabilities=np.array([0.2, 0.7, 0.1], np.float32),
    other=0.0,
    film_distance=0.0,
    feature_distance=0.0,
    spread=0.3,
    elongation=1.2,
    was_inverted=False,
)


def make_model(limits: dict[str, object] | None = None, **quantiles: float) -> ModelManifest:
    """A model whose thresholds are easy to reckon with."""
    given_quantiles = {"covid19": 0.5, "normal": 0.5, "viral_pneumonia": 0.5} | quantiles
    fields = {"min_probability": 0.6, "min_spread": 0.1, "set_quantiles": given_quantiles} | (limits or {})
    return make_manifest().model_copy(update={"thresholds": Thresholds.model_validate(fields)})


def assess(*probabilities: float, **quantiles: float) -> verdict.Assessment:
    """Conclude on a plain film with these probabilities."""
    return verdict.assess(replace(PLAIN, probabilities=np.array(probabilities, np.float32)), make_model(**quantiles))


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
    evidence = replace(PLAIN, probabilities=np.array([0.25, 0.625, 0.125], np.float32))
    found = verdict.assess(evidence, make_model({"min_probability": 0.625}))
    assert found.verdict is Verdict.NORMAL


def test_two_labels_in_the_set_are_ambiguous() -> None:
    """A probable leader beside a label that the set cannot exclude."""
    found = assess(0.2, 0.7, 0.1, covid19=0.9)
    assert found.prediction_set == ("normal", "covid19")
    assert (found.verdict, found.reasons) == (Verdict.UNCERTAIN, (verdict.AMBIGUOUS_SET,))


def test_a_rival_alone_in_the_set_is_ambiguous_too() -> None:
    """The set holds a label, and not the leader: no verdict for the leader."""
    found = assess(0.2, 0.7, 0.1, covid19=0.9, normal=0.2)
    assert found.prediction_set == ("covid19",)
    assert (found.verdict, found.reasons) == (Verdict.UNCERTAIN, (verdict.AMBIGUOUS_SET,))


def test_an_empty_set_is_told_beside_the_verdict() -> None:
    """Probable enough, and yet in no set: a verdict with a caution; without a verdict the caution is not told."""
    found = assess(0.2, 0.7, 0.1, normal=0.2)
    assert (found.verdict, found.prediction_set, found.reasons) == (Verdict.NORMAL, (), (verdict.EMPTY_SET,))
    found = assess(0.3, 0.59, 0.11, normal=0.2)
    assert (found.verdict, found.reasons) == (Verdict.UNCERTAIN, (verdict.LOW_PROBABILITY,))


def test_both_doubts_are_told() -> None:
    """Low and ambiguous, in this order."""
    found = assess(0.45, 0.5, 0.05, covid19=0.9)
    assert found.reasons == (verdict.LOW_PROBABILITY, verdict.AMBIGUOUS_SET)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ({"spread": 0.09}, verdict.LOW_CONTRAST),
        ({"elongation": 2.01}, verdict.EXTREME_ASPECT),
        ({"film_distance": 3.1}, verdict.NOT_FRONTAL_CHEST),
        ({"feature_distance": 0.51}, verdict.UNLIKE_TRAINING),
    ],
)
def test_what_is_hardly_a_chest_film_is_not_assessable(seen: dict[str, float], reason: str) -> None:
    """However sure the network is: beyond any one limit there is no verdict; at the limit there still is."""
    model = make_model({"max_film_distance": 3.0, "max_feature_distance": 0.5})
    found = verdict.assess(replace(PLAIN, **seen), model)
    assert (found.verdict, found.reasons) == (Verdict.NOT_ASSESSABLE, (reason,))
    assert found.probabilities["normal"] == pytest.approx(0.7)
    at_limits = replace(PLAIN, spread=0.1, elongation=2.0, film_distance=3.0, feature_distance=0.5)
    assert verdict.assess(at_limits, model).verdict is Verdict.NORMAL


def test_a_model_without_a_gate_does_not_limit_distances() -> None:
    """Where the thresholds name no limit, no distance is too large."""
    found = verdict.assess(replace(PLAIN, film_distance=1e9, feature_distance=1e9, other=1.0), make_model())
    assert (found.verdict, found.reasons) == (Verdict.NORMAL, ())


def test_an_other_finding_is_uncertain_from_its_threshold_on() -> None:
    """At 0.25 of 0.25 no label is given, whatever leads among the labels; just below it is."""
    model = make_model({"max_other": {"covid19": 0.1, "normal": 0.25, "viral_pneumonia": 0.1}})
    found = verdict.assess(replace(PLAIN, other=0.25), model)
    assert (found.verdict, found.reasons) == (Verdict.UNCERTAIN, (verdict.OTHER_FINDING,))
    assert verdict.assess(replace(PLAIN, other=0.24), model).verdict is Verdict.NORMAL


def test_a_turned_polarity_is_told_beside_the_verdict() -> None:
    """A caution, no obstacle; it comes after the reasons for an abstention."""
    turned = replace(PLAIN, was_inverted=True)
    assert verdict.assess(turned, make_model()) == replace(
        verdict.assess(PLAIN, make_model()), reasons=(verdict.POLARITY_CORRECTED,)
    )
    found = verdict.assess(replace(turned, spread=0.0), make_model())
    assert found.reasons == (verdict.LOW_CONTRAST, verdict.POLARITY_CORRECTED)


def test_as_many_probabilities_as_labels() -> None:
    """A network of another size is refused, not cut to fit."""
    with pytest.raises(ValueError, match="zip"):
        assess(0.5, 0.5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"other": math.nan}, "other_finding"),
        ({"film_distance": math.nan}, "not_frontal_chest"),
        ({"feature_distance": math.nan}, "unlike_training"),
        ({"spread": math.nan}, "low_contrast"),
        ({"elongation": math.nan}, "extreme_aspect"),
    ],
)
def test_what_is_no_number_is_beyond_every_limit(changes: dict[str, float], reason: str) -> None:
    """A film about which something could not be measured gets no verdict."""
    limits = {
        "max_other": dict.fromkeys(("covid19", "normal", "viral_pneumonia"), 0.5),
        "max_film_distance": 1.0,
        "max_feature_distance": 1.0,
    }
    sure = replace(PLAIN, probabilities=np.array([0.01, 0.98, 0.01], np.float32))
    assert verdict.assess(sure, make_model(limits)).verdict is Verdict.NORMAL
    told = verdict.assess(replace(sure, **changes), make_model(limits))
    assert told.verdict is not Verdict.NORMAL
    assert reason in told.reasons


def test_every_limit_of_a_model_is_told_in_the_rules() -> None:
    """Those of the gate and of other findings too, each with its number."""
    limits = {
        "max_other": {"covid19": 0.31, "normal": 0.52, "viral_pneumonia": 0.29},
        "max_film_distance": 1.25,
        "max_feature_distance": 7.75,
    }
    thresholds = make_model(limits).thresholds
    told = " ".join([*verdict.describe_obstacles(thresholds), *verdict.describe_doubts(thresholds, str.upper)])
    for words in ("0.600", "0.100", "1.25", "7.75", "0.310 for COVID19", "0.520 for NORMAL"):
        assert words in told
    plain = make_model().thresholds
    assert not any("gate" in rule for rule in verdict.describe_obstacles(plain))
    assert len(verdict.describe_doubts(plain, str)) == 2
