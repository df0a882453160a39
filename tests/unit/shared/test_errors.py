"""What every error promises: a stable code, a fitting status, a sentence that gives nothing away."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from shared import errors
from shared.errors import AppError, Unavailable, all_errors

OURS = [error for error in all_errors() if error.__module__ == errors.__name__]


def test_every_code_is_given_once() -> None:
    """A program can tell errors apart by their code."""
    repeated = {code: n for code, n in Counter(error.code for error in OURS).items() if n > 1}
    assert not repeated


@pytest.mark.parametrize("error", OURS, ids=lambda error: error.__name__)
def test_every_error_has_code_status_and_words(error: type[AppError]) -> None:
    """Snake-case code, a status of 4xx or 5xx, a title and a one-sentence docstring."""
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)
    assert 400 <= error.status <= 599
    assert error.title
    assert (error.__doc__ or "").strip().endswith(".")


@pytest.mark.parametrize("error", OURS, ids=lambda error: error.__name__)
def test_only_what_is_away_for_now_is_worth_a_retry(error: type[AppError]) -> None:
    """429, 503 and 507 go with `retryable`, so that Retry-After never lies."""
    assert error.retryable is (error.status in {429, 503, 507})
    assert error.retryable or not issubclass(error, Unavailable)


def test_the_tree_at_the_top_draws_every_class() -> None:
    """Who reads the first paragraph has read them all."""
    drawn = errors.__doc__ or ""
    assert not [error.__name__ for error in OURS if error.__name__ not in drawn]


def test_the_tree_tells_each_status_it_names() -> None:
    """Where the drawing gives a number, it is the class's."""
    told = re.findall(r"(\w+)[ (]+(\d{3})\b", errors.__doc__ or "")
    assert len(told) > 10
    assert [(name, int(number)) for name, number in told] == [
        (name, getattr(errors, name).status) for name, number in told
    ]


def test_an_error_says_its_detail_and_keeps_its_facts_apart() -> None:
    """`str` is the sentence for the user; facts go to the log only."""
    error = errors.BlobMissing("The stored film is missing.", ref="default/x/y")
    assert str(error) == error.detail == "The stored film is missing."
    assert error.facts == {"ref": "default/x/y"}
    assert "default" not in str(error)


def test_parents_come_before_children() -> None:
    """A reader of the list meets the general before the particular."""
    seen: list[type] = []
    for error in all_errors():
        assert error is AppError or any(base in seen for base in error.__bases__)
        seen.append(error)
