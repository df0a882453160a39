"""How far readers and a model agree: the arithmetic behind the model page's section on readers. Pure; no films."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.db.review_queries import Readings
from shared.domain import ABSTENTIONS, ReaderLabel, Verdict, agrees
from shared.intervals import wilson_interval
from shared.manifest import Rate

LEAST_FILMS: Final = 20
"""Of fewer no kappa is told: it would be a number without a meaning."""

Counts = Mapping[tuple[Verdict, ReaderLabel], int]


@dataclass(frozen=True, slots=True)
class Agreement:
    """What readers said of one model's films.

    Attributes:
        readings: reviews of films that the model gave a label; a film that two readers saw has two.
        share: of those readings that agree, `n` being films: readings of one film go together, so the interval is
            taken as if each film had been read once. None where there is none.
        kappa: Cohen's, of those readings; None of fewer films than `LEAST_FILMS`, or where it is not defined.
        rows: verdict -> readings by label, in the labels' order; abstentions too.
    """

    readings: int
    share: Rate | None
    kappa: float | None
    rows: Mapping[Verdict, list[int]]


def measure(found: Readings) -> Agreement:
    """How often readers agree with the verdicts, as shares of the counts in `found`."""
    given = {pair: n for pair, n in found.counts.items() if pair[0] not in ABSTENTIONS}
    readings, films = sum(given.values()), found.films
    share = None
    if readings:
        value = sum(n for pair, n in given.items() if agrees(*pair)) / readings
        low, high = wilson_interval(value, films)
        share = Rate(value=value, n=films, low=low, high=high)
    rows = {verdict: [found.counts.get((verdict, label), 0) for label in ReaderLabel] for verdict in Verdict}
    return Agreement(readings, share, kappa(given) if films >= LEAST_FILMS else None, rows)


def kappa(counts: Counts) -> float | None:
    """Cohen's kappa (1960) of two who label the same films: (p - e) / (1 - e).

    p is the share on which both say the same, e the share that chance gives two who use each label as often as they do.

    Args:
        counts: how often the first said this and the second that.

    Returns:
        1 where they always agree, 0 where as often as by chance; None where e is 1: both said one word alone.
    """
    n = sum(counts.values())
    words = {str(word) for pair in counts for word in pair}
    same = sum(number for (first, second), number in counts.items() if first.value == second.value) / n if n else 0.0
    firsts = {word: sum(number for (first, _), number in counts.items() if first == word) for word in words}
    seconds = {word: sum(number for (_, second), number in counts.items() if second == word) for word in words}
    chance = sum(firsts[word] * seconds[word] for word in words) / n**2 if n else 1.0
    return None if chance == 1 else (same - chance) / (1 - chance)
