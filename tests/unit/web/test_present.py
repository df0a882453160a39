"""Codes and numbers in words."""

from __future__ import annotations

import re

import pytest

from shared import verdict
from shared.domain import Verdict
from web import present


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.5, "50.0 %"), (0.99961, "> 99.9 %"), (0.0004, "< 0.1 %"), (1.0, "100.0 %"), (0.0, "0.0 %"), (0.999, "99.9 %")],
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
    ("labels", "words"),
    [
        ([], "The prediction set is empty: each label is less probable here than on most validation films of it."),
        (["normal"], "The prediction set holds Normal only."),
        (["covid19", "normal"], "The prediction set holds COVID-19 and Normal."),
        (["covid19", "normal", "viral_pneumonia"], "The prediction set holds COVID-19, Normal and Viral pneumonia."),
    ],
)
def test_a_prediction_set_is_told_in_words(labels: list[str], words: str) -> None:
    """Empty, one, two or three labels each make a sentence."""
    assert present.describe_set(labels) == words


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
