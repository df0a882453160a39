"""A map's numbers in plain words, which say no more than the numbers do."""

from __future__ import annotations

import pytest

from shared import wire
from shared.domain import ExplanationMethod
from web import present_maps


def quality(
    *, gone: float, shown: float, random: float, blank: float = 0.1, spread: float | None = 0.1
) -> wire.MapQuality:
    """Of a film with a score of 0.9, of which `blank` is left without it; random orders lie within `spread`."""
    return wire.MapQuality(
        deletion=[0.9, blank],
        insertion=[blank, 0.9],
        deletion_auc=gone,
        insertion_auc=shown,
        random_auc=random,
        random_least=None if spread is None else max(random - spread, 0),
        random_most=None if spread is None else min(random + spread, 1),
        second_method="grad_cam",
        agreement=None,
        stability=None,
    )


@pytest.mark.parametrize(
    ("gone", "shown", "better", "start"),
    [
        (0.3, 0.8, [True, True], "The score falls faster when the marked parts are removed first, and rises faster"),
        (
            0.3,
            0.4,
            [True, False],
            "The score falls faster than in every random order when the marked parts are removed first",
        ),
        (
            0.8,
            0.8,
            [False, True],
            "The score rises faster than in every random order when the marked parts are shown first",
        ),
        (0.8, 0.3, [False, False], "The marked parts change the score no faster than some random orders do"),
        (0.41, 0.59, [False, False], "The marked parts change the score no faster than some random orders do"),
    ],
)
def test_a_map_is_weighed_beside_random_order(gone: float, shown: float, better: list[bool], start: str) -> None:
    """Deletion must be lower, insertion higher than of each single random order: their mean alone tells nothing."""
    measured = quality(gone=gone, shown=shown, random=0.5)
    assert [line.is_better for line in present_maps.compare(measured)] == better
    assert present_maps.weigh(measured).startswith(start)
    assert "blank film" not in present_maps.weigh(measured)


def test_a_comparison_with_a_mean_alone_is_not_told() -> None:
    """As earlier builds stored it."""
    measured = quality(gone=0.1, shown=0.9, random=0.5, spread=None)
    assert not any(line.is_better for line in present_maps.compare(measured))
    assert present_maps.weigh(measured).startswith("This was measured by an earlier build")


def test_a_film_whose_score_survives_its_absence_is_told() -> None:
    """Where a blank film scores as high, no order of taking away can look good."""
    assert "A blank film scores no lower for this label" in present_maps.weigh(
        quality(gone=0.9, shown=0.9, random=0.9, blank=0.9)
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1.0, "1.00, close"),
        (0.8, "0.80, close"),
        (0.79, "0.79, moderate"),
        (0.2, "0.20, weak"),
        (0.0, "0.00, hardly any"),
        (-0.2, "-0.20, hardly any"),
        (-0.3, "-0.30, opposed"),
        (-1.0, "-1.00, opposed"),
        (None, "undefined: one of the heatmaps is constant"),
    ],
)
def test_a_correlation_is_told_in_number_and_word(value: float | None, words: str) -> None:
    """The whole range has a word."""
    assert present_maps.describe_correlation(value) == words


def test_a_method_of_tomorrow_stays_as_it_is() -> None:
    """An unknown code is shown, not guessed."""
    assert present_maps.name_method("occlusion") == "occlusion"
    assert present_maps.describe_method("occlusion") == ""
    assert all(present_maps.name_method(method) != method.value for method in ExplanationMethod)


def test_a_map_that_was_not_asked_for_is_summed_up() -> None:
    """For those who listen rather than look."""
    assert present_maps.summarize_map(None, "gradient") == "Gradient: not made yet."
