"""Agreement of readers and a model: worked examples, and what is not told of few films."""

from __future__ import annotations

import pytest

from shared.db.review_queries import Readings
from shared.domain import ReaderLabel, Verdict, agrees
from web.agreement import LEAST_FILMS, kappa, measure

NORMAL, COVID = Verdict.NORMAL, Verdict.COVID19


def test_kappa_is_that_of_the_worked_example() -> None:
    """Fifty proposals, two readers: 20 both yes, 15 both no, 5 and 10 otherwise; .7 agree, .5 by chance: .4."""
    counts = {
        (NORMAL, ReaderLabel.NORMAL): 20,
        (NORMAL, ReaderLabel.COVID19): 5,
        (COVID, ReaderLabel.NORMAL): 10,
        (COVID, ReaderLabel.COVID19): 15,
    }
    assert kappa(counts) == pytest.approx(0.4)


def test_kappa_of_three_labels_is_that_of_sklearn() -> None:
    """By hand and by scikit-learn alike, with a label that only readers have."""
    from sklearn.metrics import cohen_kappa_score  # noqa: PLC0415  web itself never imports it

    counts = {
        (NORMAL, ReaderLabel.NORMAL): 31,
        (NORMAL, ReaderLabel.OTHER_FINDING): 6,
        (NORMAL, ReaderLabel.NOT_ASSESSABLE): 2,
        (COVID, ReaderLabel.COVID19): 11,
        (COVID, ReaderLabel.OTHER_FINDING): 5,
        (Verdict.VIRAL_PNEUMONIA, ReaderLabel.NORMAL): 4,
    }
    pairs = [(first.value, second.value) for (first, second), n in counts.items() for _ in range(n)]
    assert kappa(counts) == pytest.approx(cohen_kappa_score(*zip(*pairs, strict=True)))


def test_kappa_has_no_value_where_both_say_one_word_alone() -> None:
    """Nor of nothing; always the same of two words is 1, and as often as by chance 0."""
    assert kappa({}) is kappa({(NORMAL, ReaderLabel.NORMAL): 30}) is None
    assert kappa({(NORMAL, ReaderLabel.NORMAL): 9, (COVID, ReaderLabel.COVID19): 1}) == 1
    assert kappa({(NORMAL, ReaderLabel.NORMAL): 9, (COVID, ReaderLabel.NORMAL): 1}) == 0


def test_the_share_is_of_readings_and_its_interval_of_as_many_films() -> None:
    """15 of 20 readings of 10 films: Wilson's ends at 10; abstentions play no part but in the table."""
    counts = {
        (NORMAL, ReaderLabel.NORMAL): 15,
        (NORMAL, ReaderLabel.COVID19): 5,
        (Verdict.UNCERTAIN, ReaderLabel.NORMAL): 7,
    }
    found = measure(Readings(counts, films=10))
    assert found.share is not None
    assert (found.readings, found.share.value, found.share.n) == (20, 0.75, 10)
    for end in (found.share.low, found.share.high):  # where the share is 1.96 standard errors away, n being 10
        assert (0.75 - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / 10, rel=1e-6)
    assert found.share.low < 0.75 < found.share.high
    assert found.rows[NORMAL] == [5, 15, 0, 0, 0]
    assert found.rows[Verdict.UNCERTAIN] == [0, 7, 0, 0, 0]
    assert found.rows[COVID] == [0] * 5


def test_no_kappa_is_told_of_few_films() -> None:
    """However many read them."""
    counts = {(NORMAL, ReaderLabel.NORMAL): 50, (COVID, ReaderLabel.NORMAL): 50}
    assert measure(Readings(counts, LEAST_FILMS - 1)).kappa is None
    assert measure(Readings(counts, LEAST_FILMS)).kappa == 0
    assert measure(Readings({}, 0)).share is None


def test_who_agrees_follows_from_both_words() -> None:
    """A reader who cannot assess what the model gave a label disagrees; nobody does with an abstention."""
    assert agrees(NORMAL, ReaderLabel.NORMAL) is True
    assert agrees(NORMAL, ReaderLabel.NOT_ASSESSABLE) is agrees(NORMAL, ReaderLabel.COVID19) is False
    for verdict in (Verdict.UNCERTAIN, Verdict.NOT_ASSESSABLE):
        assert {agrees(verdict, label) for label in ReaderLabel} == {None}
