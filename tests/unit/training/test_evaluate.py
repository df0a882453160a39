"""Measurements of an engine that answers by rule: every number worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from shared.errors import DataProblem
from tests.answers import tell
from tests.models import RuleEngine, make_manifest
from training.dataset import Example
from training.evaluate import Answers, as_numbers, ask, measure
from training.fit import ignore
from training.recipe import LABELS

SURE = {0: (0.9, 0.05, 0.05), 1: (0.05, 0.9, 0.05), 2: (0.05, 0.05, 0.9)}
UNSURE_NORMAL = (0.3, 0.4, 0.3)


def make_answers(*films: tuple[str, tuple[float, ...], bool]) -> Answers:
    """(label, probabilities, has a verdict) of each film."""
    told = [tell(probabilities, has_verdict=has_verdict) for _, probabilities, has_verdict in films]
    examples = [Example(Path(f"f{n}.png"), label, f"g{n}", "test", "", "row") for n, (label, _, _) in enumerate(films)]
    return Answers(tuple(examples), tuple(seen for seen, _ in told), tuple(said for _, said in told))


ANSWERS = make_answers(
    ("covid19", SURE[0], True),
    ("covid19", UNSURE_NORMAL, False),
    ("normal", SURE[1], True),
    ("normal", UNSURE_NORMAL, False),
    ("viral_pneumonia", SURE[1], True),
    ("tuberculosis", SURE[0], True),
    ("tuberculosis", UNSURE_NORMAL, False),
    ("tuberculosis", UNSURE_NORMAL, False),
)


def test_forced_choice_counts_every_film_with_a_label_of_ours() -> None:
    """3 of 5 right; recall 1/2, 2/2, 0/1; the three other films take no part."""
    measured = measure(ANSWERS, LABELS)
    assert measured.n == 8
    assert measured.accuracy is not None
    assert (measured.accuracy.value, measured.accuracy.n) == (0.6, 5)
    assert {label: rate.value for label, rate in measured.recall.items()} == {
        "covid19": 0.5,
        "normal": 1.0,
        "viral_pneumonia": 0.0,
    }
    assert measured.balanced_accuracy == pytest.approx(0.5)
    assert measured.confusion == [[1, 1, 0], [0, 2, 0], [0, 1, 0]]
    assert measured.macro_f1 == pytest.approx((2 / 3 + 4 / 6 + 0) / 3)


def test_coverage_counts_every_film() -> None:
    """4 of 8 got a verdict, 1 of 3 with another label; 2 of the 3 covered films of ours are right."""
    measured = measure(ANSWERS, LABELS)
    assert (measured.coverage.value, measured.coverage.n) == (0.5, 8)
    assert measured.coverage_by_label["tuberculosis"].value == pytest.approx(1 / 3)
    assert measured.selective_accuracy is not None
    assert measured.selective_accuracy.value == pytest.approx(2 / 3)


def test_a_verdict_on_an_other_finding_is_no_right_one() -> None:
    """Of the 4 verdicts one is on a film without a right label: 2 are right."""
    precision = measure(ANSWERS, LABELS).verdict_precision
    assert precision is not None
    assert (precision.value, precision.n) == (0.5, 4)


def test_only_other_labels_leave_the_forced_choice_empty() -> None:
    """No film of ours: coverage stands, the rest is null in JSON."""
    numbers = json.loads(json.dumps(as_numbers(measure(make_answers(("tuberculosis", SURE[0], True)), LABELS))))
    assert numbers["coverage"] == 1.0
    assert numbers["accuracy"] is numbers["macro_f1"] is numbers["ece15"] is numbers["selective_accuracy"] is None


def test_numbers_are_one_flat_object() -> None:
    """Each promised name with a plain number, a list, or numbers by label."""
    numbers = as_numbers(measure(ANSWERS, LABELS))
    assert {
        "n",
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "ece15",
        "recall",
        "coverage",
        "selective_accuracy",
        "confusion",
    } <= numbers.keys()
    assert numbers["recall"] == {"covid19": 0.5, "normal": 1.0, "viral_pneumonia": 0.0}
    assert numbers["intervals_95"]["accuracy"][0] < 0.6 < numbers["intervals_95"]["accuracy"][1]


def test_verdict_is_the_services_own() -> None:
    """A sure film has a verdict; an unsure one and a blank one have none."""
    engine = RuleEngine(make_manifest(), (SURE[0], UNSURE_NORMAL, SURE[1]))
    ramp = np.tile(np.linspace(0, 1, 64), (64, 1))
    tones = {"dark": ramp**4, "even": ramp, "blank": np.zeros((64, 64))}
    films = {name: (tone * 255).astype(np.uint8) for name, tone in tones.items()}
    rows = [Example(Path(name), "normal", name, "test", "", "row") for name in films]
    answers = ask(engine, rows, ignore, read=lambda path: films[path.name])
    assert answers.truth == ("normal", "normal", "normal")
    assert answers.has_verdict.tolist() == [True, False, False]


def test_unreadable_film_stops_the_measurement() -> None:
    """A film that is not there is named before any is classified."""
    engine = RuleEngine(make_manifest(), (SURE[0],))
    row = Example(Path("gone.png"), "normal", "g", "test", "", "films.csv line 4")
    with pytest.raises(DataProblem, match=r"films\.csv line 4"):
        ask(engine, [row], ignore)
