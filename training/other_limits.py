"""Choose `max_other`: for each label, the probability of an other finding from which a film gets no verdict. numpy.

Every limit lets some films with an other finding pass, and costs some films of the label their verdict. All limits
together share one budget of films that may pass, so they are chosen together, by dynamic programming over the labels.
Called by `calibrate.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from shared.arrays import FloatArray
from training.metrics import Booleans, Integers

LARGEST_MAX_OTHER: Final = 0.5
"""An other finding that is more probable than not is always a doubt."""


@dataclass(frozen=True, slots=True)
class OtherScores:
    """N films of a calibration set, as `max_other` sees them.

    Attributes:
        leader: (N,) index of the most probable label.
        other: (N,) float32, probability of an other finding.
        is_labelled: (N,) whether the film has one of the model's labels; False: it has an other finding.
        is_candidate: (N,) whether the film gets a verdict if no limit on `other` stops it.
    """

    leader: Integers
    other: FloatArray
    is_labelled: Booleans
    is_candidate: Booleans


@dataclass(frozen=True, slots=True, order=True)
class _Limits:
    """Limits of the first labels, and the sum over these labels of the share of their films that stay below."""

    kept_share: float = 0.0
    limits: tuple[float, ...] = ()


def choose_max_other(scores: OtherScores, labels: Sequence[str], largest_share: float) -> dict[str, float]:
    """Return each label's limit: together they let at most the given share of all films with an other finding pass.

    An other finding that looks like one label need not cost verdicts of the others. Of all ways to divide the films
    that may pass among the labels, this is the one with the largest mean share of each label's own films kept; of
    equal ones, the strictest.

    Args:
        largest_share: largest share of the films with an other finding that may get a verdict.
    """
    budget = int(np.floor(largest_share * (~scores.is_labelled).sum()))
    best_by_passing = {0: _Limits()}
    for label in range(len(labels)):
        best_by_passing = _add_label(best_by_passing, _options(scores, label, budget), budget)
    passing = max(best_by_passing, key=lambda count: (round(best_by_passing[count].kept_share, 9), -count))
    return dict(zip(labels, best_by_passing[passing].limits, strict=True))


def _add_label(
    best_by_passing: Mapping[int, _Limits], options: Sequence[tuple[float, float]], budget: int
) -> dict[int, _Limits]:
    """Return the best limits for each number of passing films, with one label more.

    Args:
        options: of the label; entry n lets n films with an other finding pass.
    """
    extended: dict[int, _Limits] = {}
    for passing, best in best_by_passing.items():
        for more, (share, limit) in enumerate(options[: budget - passing + 1]):
            candidate = _Limits(best.kept_share + share, (*best.limits, limit))
            extended[passing + more] = max(extended.get(passing + more, candidate), candidate)
    return extended


def _options(scores: OtherScores, label: int, budget: int) -> list[tuple[float, float]]:
    """Return (share of the label's films kept, limit) for 0, 1, ... films with an other finding that pass."""
    is_led = scores.is_candidate & (scores.leader == label)
    own = scores.other[is_led & scores.is_labelled]
    foreign = np.sort(scores.other[is_led & ~scores.is_labelled])
    return [_option(own, foreign, passing) for passing in range(min(budget, len(foreign)) + 1)]


def _option(own: FloatArray, foreign: FloatArray, passing: int) -> tuple[float, float]:
    limit = min(LARGEST_MAX_OTHER, float(foreign[passing]) if passing < len(foreign) else 1.0)
    return (float((own < limit).mean()) if len(own) else 1.0), limit
