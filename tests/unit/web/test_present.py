"""Codes and numbers in words."""

from __future__ import annotations

import re

import pytest

from shared import verdict
from shared.domain import Verdict
from shared.manifest import Rate, SplitMetrics
from tests.fakes import make_manifest
from tests.wire_jobs import make_wire_job, make_wire_result
from web import present


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.5, "50.0\N{NO-BREAK SPACE}%"),
        (0.99961, ">\N{NO-BREAK SPACE}99.9\N{NO-BREAK SPACE}%"),
        (0.0004, "<\N{NO-BREAK SPACE}0.1\N{NO-BREAK SPACE}%"),
        (1.0, "100.0\N{NO-BREAK SPACE}%"),
        (0.0, "0.0\N{NO-BREAK SPACE}%"),
        (0.999, "99.9\N{NO-BREAK SPACE}%"),
    ],
)
def test_a_probability_is_never_rounded_to_a_certainty(share: float, words: str) -> None:
    """One decimal, but neither 0 nor 100 unless the share is exactly that."""
    assert present.percent(share) == words


def test_every_verdict_has_a_name() -> None:
    """No verdict reaches a page as its code."""
    assert all(present.name_label(verdict) != verdict.value for verdict in Verdict)


def test_every_reason_has_a_sentence() -> None:
    """No reason that the verdict may have reaches a page as its code, and no sentence is left without one."""
    words = re.compile(r"[a-z]+(_[a-z]+)+")
    values = {value for name, value in vars(verdict).items() if name.isupper() and isinstance(value, str)}
    assert values == set(present.REASONS)
    assert all(words.fullmatch(value) for value in values)
    assert all(present.explain_reason(value).endswith(".") for value in values)


def test_cautions_are_told_apart_from_what_prevents_a_verdict() -> None:
    """A film that was turned to the usual grey scale has a verdict all the same."""
    reasons = ["ambiguous_set", "polarity_corrected"]
    assert (present.why_none(reasons), present.cautions(reasons)) == (["ambiguous_set"], ["polarity_corrected"])
    assert set(present.REASONS) >= present.CAUTIONS


@pytest.mark.parametrize(
    ("verdict", "labels", "words"),
    [
        ("normal", [], "80.0\N{NO-BREAK SPACE}% among these three labels."),
        ("normal", ["normal"], "80.0\N{NO-BREAK SPACE}% among these three labels."),
        ("uncertain", ["normal"], ""),
        ("uncertain", ["covid19", "normal"], "COVID-19 and Normal are both plausible."),
        (
            "uncertain",
            ["covid19", "normal", "viral_pneumonia"],
            "COVID-19, Normal and Viral pneumonia are all plausible.",
        ),
    ],
)
def test_probability_and_prediction_set_are_told_in_words(verdict: str, labels: list[str], words: str) -> None:
    """A set of one says nothing that speaks for its label; an empty one is told as a caution."""
    result = make_wire_result(verdict=Verdict(verdict)).model_copy(update={"prediction_set": labels})
    assert present.describe_set(result) == words


@pytest.mark.parametrize(("number", "words"), [(2, "two"), (5, "five"), (12, "12")])
def test_the_labels_are_counted_as_the_model_has_them(number: int, words: str) -> None:
    """In words where they are few."""
    shares = {"normal": 0.8, **{f"label{at}": 0.0 for at in range(1, number)}}
    result = make_wire_result().model_copy(update={"probabilities": shares})
    assert present.describe_set(result) == f"80.0\N{NO-BREAK SPACE}% among these {words} labels."


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict.NORMAL, "Normal, 80.0\N{NO-BREAK SPACE}%."),
        (Verdict.UNCERTAIN, "Verdict Uncertain; Normal 80.0\N{NO-BREAK SPACE}%."),
        (Verdict.NOT_ASSESSABLE, "Verdict Not assessable."),
    ],
)
def test_one_line_names_a_label_once(verdict: Verdict, words: str) -> None:
    """With its share; beside an abstention stands what it is for."""
    job = make_wire_job(status="succeeded", result=make_wire_result(verdict=verdict))
    assert present.summarize(job) == f"Film {present.short_id(job.id)}: succeeded. {words}"


@pytest.mark.parametrize(
    ("reasons", "other", "told"),
    [
        ([], 0.2, ("Normal", 0.8)),
        (["other_finding", "low_probability"], 0.41, ("another finding", 0.41)),
        (["other_finding"], None, ("Normal", 0.8)),
        (["low_probability"], 0.2, ("Normal", 0.8)),
    ],
)
def test_what_decided_stands_beside_the_verdict(
    reasons: list[str], other: float | None, told: tuple[str, float]
) -> None:
    """A film held back for another finding shows how probable that is; a result of an older build cannot."""
    changed = {"reasons": reasons, "other_probability": other}
    assert present.deciding(make_wire_result().model_copy(update=changed)) == told


def test_how_often_a_model_was_right_elsewhere_counts_films_with_other_findings_as_wrong() -> None:
    """Of 422 labels given to 587 films 360 went to films that have one, of which 321 were right."""
    external = SplitMetrics(
        n=587,
        coverage=Rate(value=422 / 587, n=587, low=0.6, high=0.8),
        selective_accuracy=Rate(value=321 / 360, n=360, low=0.8, high=0.95),
    )
    measured = make_manifest().model_copy(update={"metrics": {"external": external}})
    assert present.count_right_elsewhere(measured) == (321, 422)
    assert present.count_right_elsewhere(make_manifest()) is None


def test_code_in_a_sentence_is_marked_and_the_rest_escaped() -> None:
    """Backticks become code; markup in the sentence or in the code stays text."""
    assert present.mark_code("<i> `a<b` c") == "&lt;i&gt; <code>a&lt;b</code> c"


@pytest.mark.parametrize(("count", "row", "step"), [(0, [0, 0], 0), (0, [0, 9], 0), (1, [1, 99], 1), (9, [9, 0], 5)])
def test_a_cell_is_shaded_by_its_share_of_the_row(count: int, row: list[int], step: int) -> None:
    """Empty cells stay plain, any count shows, a whole row is darkest."""
    assert present.shade(count, row) == step


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (9999, "9\u202f999"), (10_000, "10\u202f000"), (10_001, "10\u202f000+"), (60_006, "10\u202f000+")],
)
def test_a_count_says_where_counting_stopped(number: int, words: str) -> None:
    """Queries count to one beyond the most, and a page adds the states up."""
    assert present.counted(number) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "10 s"), (10, "10 s"), (11, "20 s"), (60, "60 s"), (61, "2 min"), (3600, "60 min"), (3601, "2 h")],
)
def test_an_estimate_is_told_as_coarsely_as_it_is_known(seconds: int, words: str) -> None:
    """Rounded up to tens of seconds, minutes or hours."""
    assert present.describe_wait(seconds) == words
