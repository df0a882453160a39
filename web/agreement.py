"""Agreement of readers with a model: the statistics of the model page's section on readers. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.db.review_queries import Readings
from shared.domain import ABSTENTIONS, ReaderLabel, Verdict, agrees
from shared.intervals import wilson_interval
from shared.manifest import Rate

LEAST_FILMS: Final = 20
"""With fewer films kappa is left out: it would be too uncertain to mean anything."""

Counts = Mapping[tuple[Verdict, ReaderLabel], int]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of readers with one model.

    Attributes:
        readings: number of reviews of films that the model gave a label; a film that two readers saw has two.
        share: agreeing readings / all readings. The interval uses n = films, since readings of one film are not
            independent. None without readings.
        kappa: Cohen's kappa of those readings; None with fewer than `LEAST_FILMS` films, or if it is undefined.
        rows: verdict -> readings by label, in the labels' order; abstentions included.
    """

    readings: int
    share: Rate | None
    kappa: float | None
    rows: Mapping[Verdict, list[int]]


def measure(reviews: Readings) -> Agreement:
    """Return how often readers agree with the verdicts."""
    labelled = {pair: n for pair, n in reviews.counts.items() if pair[0] not in ABSTENTIONS}
    readings, films = sum(labelled.values()), reviews.films
    share = None
    if readings:
        value = sum(n for pair, n in labelled.items() if agrees(*pair)) / readings
        low, high = wilson_interval(value, films)
        share = Rate(value=value, n=films, low=low, high=high)
    rows = {verdict: [reviews.counts.get((verdict, label), 0) for label in ReaderLabel] for verdict in Verdict}
    return Agreement(readings, share, kappa(labelled) if films >= LEAST_FILMS else None, rows)


def kappa(counts: Counts) -> float | None:
    """Return Cohen's kappa (1960) of two raters who label the same films: (p - e) / (1 - e).

    p is the observed share of agreement, e the share expected by chance from how often each rater uses each label.

    Args:
        counts: number of films by (first rater's label, second rater's label).

    Returns:
        1 for full agreement, 0 for chance agreement; None if e is 1, when both raters use one and the same label only.
    """
    n = sum(counts.values())
    words = {str(word) for pair in counts for word in pair}
    same = sum(number for (first, second), number in counts.items() if first.value == second.value) / n if n else 0.0
    firsts = {word: sum(number for (first, _), number in counts.items() if first == word) for word in words}
    seconds = {word: sum(number for (_, second), number in counts.items() if second == word) for word in words}
    chance = sum(firsts[word] * seconds[word] for word in words) / n**2 if n else 1.0
    return None if chance == 1 else (same - chance) / (1 - chance)
