"""Designs are compared only where they do the same work: the same film must get the same probabilities from each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

TOLERANCE = 1e-3
"""Of a probability. OpenVINO and TensorFlow differ by 1e-7 on the same pixels; a wrong pixel moves it far more."""

Probabilities = Mapping[str, float]


class Unequal(Exception):
    """Two designs gave one film different probabilities: nothing may be measured."""


def worst(reference: Sequence[Probabilities], others: Sequence[Probabilities]) -> float:
    """The largest difference over films and labels; infinite where films or labels do not pair up, or one is no number.

    `max` alone would drop a NaN that is not the first.
    """
    if len(reference) != len(others):
        return float("inf")
    differences = [
        abs(one[label] - other[label]) if one.keys() == other.keys() else float("inf")
        for one, other in zip(reference, others, strict=True)
        for label in one
    ]
    return max((found if math.isfinite(found) else math.inf for found in differences), default=0.0)


def check(reference: Sequence[Probabilities], design: str, answers: Sequence[Probabilities]) -> float:
    """How far the design's answers are from the reference's.

    Raises:
        Unequal: further than `TOLERANCE`; names the design.
    """
    found = worst(reference, answers)
    if not found <= TOLERANCE:
        raise Unequal(
            f"'{design}' differs by {found:.3g} in a probability (tolerance {TOLERANCE}); nothing is measured."
        )
    return found
