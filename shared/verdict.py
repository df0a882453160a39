"""Scores and a model's thresholds to what the reader is told. Pure; called by worker and training alike."""

from __future__ import annotations

import numpy as np

from shared.domain import Assessment, FloatArray, Verdict
from shared.manifest import ModelManifest

LOW_CONTRAST = "low_contrast"
LOW_PROBABILITY = "low_probability"
AMBIGUOUS_SET = "ambiguous_set"


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
    """Labels whose non-conformity 1 - p is within their class's quantile, most probable first."""
    inside = [label for label, p in probabilities.items() if 1.0 - p <= quantiles[label]]
    return tuple(sorted(inside, key=lambda label: -probabilities[label]))


def assess(probabilities: FloatArray, network_input: FloatArray, manifest: ModelManifest) -> Assessment:
    """Conclude on one film.

    Args:
        probabilities: (K,) float32, calibrated, in the manifest's label order.
        network_input: (H, W, C) float32 in [0, 1], the very tensor that was classified.

    Returns:
        'not_assessable' where the input has hardly any contrast, 'uncertain' where the top
        probability is below the threshold or the prediction set holds several labels or none
        that leads, else the most probable label.
    """
    by_label = dict(zip(manifest.labels, map(float, probabilities), strict=True))
    chosen = prediction_set(by_label, manifest.thresholds.set_quantiles)
    if float(network_input.std()) < manifest.thresholds.min_spread:
        return Assessment(Verdict.NOT_ASSESSABLE, by_label, chosen, (LOW_CONTRAST,))
    leader = max(by_label, key=by_label.__getitem__)
    reasons = _doubts(by_label[leader], chosen, manifest.thresholds.min_probability)
    verdict = Verdict.UNCERTAIN if reasons else Verdict(leader)
    return Assessment(verdict, by_label, chosen, reasons)


def _doubts(top: float, chosen: tuple[str, ...], min_probability: float) -> tuple[str, ...]:
    doubts = []
    if top < min_probability:
        doubts.append(LOW_PROBABILITY)
    if len(chosen) > 1:
        doubts.append(AMBIGUOUS_SET)
    return tuple(doubts)
