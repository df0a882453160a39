"""From scores and a model's thresholds to the verdict and its reasons. Pure; called by worker and training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from shared.arrays import FloatArray
from shared.domain import Assessment, Evidence, Verdict
from shared.manifest import ModelManifest, Thresholds

LOW_CONTRAST: Final = "low_contrast"
EXTREME_ASPECT: Final = "extreme_aspect"
NOT_FRONTAL_CHEST: Final = "not_frontal_chest"
UNLIKE_TRAINING: Final = "unlike_training"
OTHER_FINDING: Final = "other_finding"
LOW_PROBABILITY: Final = "low_probability"
AMBIGUOUS_SET: Final = "ambiguous_set"
EMPTY_SET: Final = "empty_set"
POLARITY_CORRECTED: Final = "polarity_corrected"

MAX_ELONGATION: Final = 2.0
"""Longer side over shorter; squashing a longer strip to the network's square would distort it too much."""


def calibrate(logits: FloatArray, temperature: float) -> FloatArray:
    """Temperature scaling (Guo et al. 2017, arXiv 1706.04599): softmax(logits / temperature).

    Args:
        logits: (N, K) float32.

    Returns:
        (N, K) float32, rows sum to 1.
    """
    scaled = logits / np.float32(temperature)
    exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: FloatArray = (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


def prediction_set(probabilities: dict[str, float], quantiles: dict[str, float]) -> tuple[str, ...]:
    """Return the labels whose non-conformity 1 - p is within their class's quantile, most probable first."""
    inside = [label for label, p in probabilities.items() if 1.0 - p <= quantiles[label]]
    return tuple(sorted(inside, key=lambda label: -probabilities[label]))


def assess(evidence: Evidence, manifest: ModelManifest) -> Assessment:
    """Conclude on one film.

    Returns:
        'not_assessable' where the film is hardly a frontal chest film, 'uncertain' where a finding outside the labels
        is too probable, the top probability is below the threshold, or the prediction set holds a label beside the
        most probable one; else the most probable label. `reasons` says why, and in any case names a corrected polarity
        and an empty prediction set beside a label: that label is then less probable than on most validation films of
        it. NaN exceeds every limit.
    """
    by_label = dict(zip(manifest.labels, map(float, evidence.probabilities), strict=True))
    chosen = prediction_set(by_label, manifest.thresholds.set_quantiles)
    leader = max(by_label, key=by_label.__getitem__)
    obstacles = _obstacles(evidence, manifest.thresholds)
    rivals = [label for label in chosen if label != leader]
    doubts = () if obstacles else _doubts(evidence, leader, by_label[leader], rivals, manifest.thresholds)
    holds_by_reason = {
        POLARITY_CORRECTED: evidence.was_inverted,
        EMPTY_SET: not (chosen or obstacles or doubts),
    }
    cautions = tuple(reason for reason, holds in holds_by_reason.items() if holds)
    verdict = Verdict.NOT_ASSESSABLE if obstacles else Verdict.UNCERTAIN if doubts else Verdict(leader)
    other = None if manifest.other_label is None else float(evidence.other)
    return Assessment(verdict, by_label, chosen, obstacles + doubts + cautions, other)


def describe_obstacles(limits: Thresholds) -> list[str]:
    """Describe when a film is not assessable, as ends of a sentence that begins 'where'."""
    conditions = [
        f"its contrast is below {limits.min_spread:.3f} (standard deviation of the windowed film)",
        f"one side is more than {MAX_ELONGATION:g} times the other",
    ]
    if limits.max_film_distance is not None:
        conditions.append(
            f"the input gate does not recognise a frontal chest film (distance above {limits.max_film_distance:.2f})"
        )
    if limits.max_feature_distance is not None:
        conditions.append(
            f"the input gate finds it unlike the training films (above {limits.max_feature_distance:.2f})"
        )
    return conditions


def describe_doubts(limits: Thresholds, name: Callable[[str], str]) -> list[str]:
    """Describe when a film is uncertain, as ends of such a sentence; `name` puts a label into words."""
    conditions = [
        f"the first label's probability is below {limits.min_probability:.3f}",
        "the prediction set contains another label besides the first",
    ]
    if limits.max_other is not None:
        each = ", ".join(f"{limit:.3f} for {name(label)}" for label, limit in limits.max_other.items())
        conditions.append(f"the probability of another finding reaches the first label's limit ({each})")
    return conditions


def _obstacles(evidence: Evidence, limits: Thresholds) -> tuple[str, ...]:
    """Return the reasons for which the film cannot be assessed at all."""
    holds_by_reason = {
        LOW_CONTRAST: not evidence.spread >= limits.min_spread,
        EXTREME_ASPECT: not evidence.elongation <= MAX_ELONGATION,
        NOT_FRONTAL_CHEST: _exceeds(evidence.film_distance, limits.max_film_distance),
        UNLIKE_TRAINING: _exceeds(evidence.feature_distance, limits.max_feature_distance),
    }
    return tuple(reason for reason, holds in holds_by_reason.items() if holds)


def _doubts(evidence: Evidence, leader: str, top: float, rivals: list[str], limits: Thresholds) -> tuple[str, ...]:
    """Return the reasons for which no label is given although the film can be assessed."""
    holds_by_reason = {
        OTHER_FINDING: limits.max_other is not None and not evidence.other < limits.max_other[leader],
        LOW_PROBABILITY: not top >= limits.min_probability,
        AMBIGUOUS_SET: bool(rivals),
    }
    return tuple(reason for reason, holds in holds_by_reason.items() if holds)


def _exceeds(distance: float, limit: float | None) -> bool:
    return limit is not None and not distance <= limit
