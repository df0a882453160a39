"""One split of the report from six films whose numbers are worked out by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.answers import make_answers
from training.recipe import LABELS
from training.report.films import write_films
from training.report.split import as_json, film_name, report_split

COVID, NORMAL = (0.9, 0.05, 0.05), (0.1, 0.8, 0.1)
ROOT = Path("/films")
ANSWERS = make_answers(
    ("covid19", "a", COVID, True, ("covid19",)),
    ("covid19", "b", NORMAL, True, ("normal",)),
    ("normal", "a", NORMAL, True, ("normal",)),
    ("normal", "b", NORMAL, False, ("normal", "covid19")),
    ("normal", "b", COVID, False, ()),
    ("tuberculosis", "b", COVID, True, ("covid19",)),
)


def test_sources_are_counted_by_pool_and_label() -> None:
    """Five pairs; recall is of the forced choice, coverage of the verdict; a foreign label has no recall."""
    rows = report_split(ANSWERS, LABELS, 0.9, ROOT).sources
    found = {
        (row.source, row.label): (row.recall and (row.recall.value, row.recall.n), row.coverage.value) for row in rows
    }
    assert found == {
        ("a", "covid19"): ((1.0, 1), 1.0),
        ("a", "normal"): ((1.0, 1), 1.0),
        ("b", "covid19"): ((0.0, 1), 1.0),
        ("b", "normal"): ((0.5, 2), 0.0),
        ("b", "tuberculosis"): (None, 1.0),
    }


def test_sets_count_films_that_have_one_of_the_labels() -> None:
    """covid19 1 of 2, normal 2 of 3; sizes 1, 1, 1, 2, 0; the sixth film takes no part."""
    sets = report_split(ANSWERS, LABELS, 0.9, ROOT).sets
    assert {label: (rate.value, rate.n) for label, rate in sets.by_label.items()} == {
        "covid19": (0.5, 2),
        "normal": (pytest.approx(2 / 3), 3),
    }
    assert sets.mean_size
    assert (sets.mean_size.value, sets.mean_size.n) == (pytest.approx(1.0), 5)
    assert sets.mean_size.low < 1.0 < sets.mean_size.high
    assert sets.nominal == 0.9


def test_reliability_is_of_films_that_have_one_of_the_labels() -> None:
    """Three first choices at .8, two of them right, and two at .9, one of them right; the sixth film takes no part."""
    low, high = report_split(ANSWERS, LABELS, 0.9, ROOT).reliability
    assert (low.probability, low.accuracy.n, low.accuracy.value) == (pytest.approx(0.8), 3, pytest.approx(2 / 3))
    assert (high.probability, high.accuracy.n, high.accuracy.value) == (pytest.approx(0.9), 2, 0.5)
    assert report_split(make_answers(("tuberculosis", "b", COVID, True, ())), LABELS, 0.9, ROOT).reliability == []


def test_failures_are_named_the_most_confident_first() -> None:
    """Two wrong choices, and an other finding with a verdict, by name below the root."""
    failures = report_split(ANSWERS, LABELS, 0.9, ROOT).failures
    assert [(film.file, film.label, film.choice, film.verdict) for film in failures] == [
        ("images/f4.png", "normal", "covid19", "uncertain"),
        ("images/f5.png", "tuberculosis", "covid19", "covid19"),
        ("images/f1.png", "covid19", "normal", "normal"),
    ]
    held_back = make_answers(("tuberculosis", "b", COVID, False, ("covid19",)))
    assert report_split(held_back, LABELS, 0.9, ROOT).failures == []
    assert failures[0].probability == pytest.approx(0.9)


def test_estimates_hold_their_value_and_are_seeded() -> None:
    """Each interval holds its value and has a width; a second time it is the same."""
    first, second = (report_split(ANSWERS, LABELS, 0.9, ROOT) for _ in range(2))
    assert first == second
    assert set(first.estimates) == {"balanced_accuracy", "macro_f1", "ece15"}
    assert first.estimates["balanced_accuracy"].value == pytest.approx((1 / 2 + 2 / 3) / 2)
    for estimate in (*first.estimates.values(), *first.roc_auc.values()):
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.low < estimate.high
        assert estimate.n == 5


def test_a_split_without_our_labels_has_coverage_only() -> None:
    """Nothing is estimated, no set is counted."""
    split = report_split(make_answers(("tuberculosis", "b", COVID, True, ())), LABELS, 0.9, ROOT)
    assert (split.estimates, split.roc_auc, split.sets.by_label, split.sets.mean_size) == ({}, {}, {}, None)
    assert split.metrics.coverage.value == 1.0


def test_json_keeps_its_keys_and_gains_sources_sets_and_intervals() -> None:
    """One object that json can write; estimates have their ends beside the shares'."""
    numbers = json.loads(json.dumps(as_json(report_split(ANSWERS, LABELS, 0.9, ROOT))))
    assert {"n", "accuracy", "coverage", "selective_accuracy", "confusion", "n_by_label"} <= numbers.keys()
    assert {"accuracy", "coverage", "balanced_accuracy", "macro_f1", "ece15"} <= numbers["intervals_95"].keys()
    assert len(numbers["sources"]) == 5
    assert numbers["sets"]["by_label"]["covid19"]["n"] == 2


def test_a_film_is_one_row_of_the_csv(tmp_path: Path) -> None:
    """Names, verdict, reasons and set by spaces, probabilities, other, distances."""
    write_films(tmp_path / "out" / "films.csv", ANSWERS, LABELS, ROOT)
    with (tmp_path / "out" / "films.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert rows[3] == {
        "file": "images/f3.png",
        "label": "normal",
        "pool": "b",
        "choice": "normal",
        "verdict": "uncertain",
        "reasons": "low_probability ambiguous_set",
        "prediction_set": "normal covid19",
        "p_covid19": "0.100000",
        "p_normal": "0.800000",
        "p_viral_pneumonia": "0.100000",
        "other": "0.25",
        "film_distance": "-1.5",
        "feature_distance": "2",
    }


def test_a_film_elsewhere_is_told_by_its_bare_name() -> None:
    """No path of the machine that measured gets into a report."""
    assert film_name(Path("/home/someone/f.png"), Path("/films")) == "f.png"


def test_the_precision_of_a_label_that_nothing_is_called_is_none() -> None:
    """A film of it there was; no share of no film."""
    answers = make_answers(("covid19", "a", NORMAL, True, ("normal",)), ("normal", "a", NORMAL, True, ("normal",)))
    numbers = json.loads(json.dumps(as_json(report_split(answers, LABELS, 0.9, ROOT))))
    assert numbers["precision"] == {"covid19": None, "normal": 0.5}
    assert numbers["recall"] == {"covid19": 0.0, "normal": 1.0}
