"""Temperature and thresholds of a model, chosen anew from its answers on other films; the network stays as it is.

The films are chest films, all of them to be assessed, so they cannot set every limit anew: see `_limit_changes`.
Called by `recalibrate.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp, log
from typing import Final

import numpy as np

from shared.arrays import FloatArray
from shared.domain import Evidence
from shared.manifest import ModelManifest, Thresholds
from training.calibrate import CalibrationSet, Targets, choose_thresholds
from training.evaluate import Answers

LEAST_OTHERS: Final = 10
"""Films with an other finding below which `max_other` is not chosen anew."""

LEAST_PROBABILITY: Final = 1e-30
NEARLY_ONE: Final = 1 - 1e-7
"""Bounds within which probabilities are turned back into logits; float32 resolves nothing beyond them."""


def recalibrate_thresholds(
    answers: Answers, manifest: ModelManifest, targets: Targets
) -> tuple[float, Thresholds, tuple[str, ...]]:
    """Return temperature and thresholds chosen from the model's answers, and a sentence for each limit kept."""
    labels = manifest.labels
    truth = np.array([labels.index(label) if label in labels else len(labels) for label in answers.truth], np.int64)
    logits = as_logits(answers.evidence, manifest.temperature, has_other=manifest.other_label is not None)
    spreads = np.array([seen.spread for seen in answers.evidence], np.float32)
    distances = np.array([(seen.film_distance, seen.feature_distance) for seen in answers.evidence], np.float32)
    gate = None if manifest.thresholds.max_film_distance is None else distances
    temperature, chosen = choose_thresholds(CalibrationSet(logits, truth, spreads, gate), labels, targets)
    others = int((truth == len(labels)).sum())
    thresholds = _limit_changes(chosen, manifest, temperature, others)
    return temperature, thresholds, tuple(_kept_sentences(manifest, others))


def as_logits(evidence: Sequence[Evidence], temperature: float, *, has_other: bool) -> FloatArray:
    """Return logits (N, outputs) float32 that give these calibrated probabilities; each row is up to a constant.

    The probabilities of the labels are a softmax of their own; that of an other finding is one over all outputs.

    Args:
        temperature: the one that the probabilities were calibrated with.
    """
    probabilities = np.array([seen.probabilities for seen in evidence], np.float64)
    logits = np.log(np.maximum(probabilities, LEAST_PROBABILITY))
    if has_other:
        other = np.clip([seen.other for seen in evidence], LEAST_PROBABILITY, NEARLY_ONE)
        logits = np.column_stack([logits, np.log(other / (1 - other))])
    return (logits * temperature).astype(np.float32)


def _kept_sentences(manifest: ModelManifest, others: int) -> Iterator[str]:
    if manifest.other_label is not None and others < LEAST_OTHERS:
        yield f"max_other: {others} films with an other finding set no threshold; it means what it meant"
    if manifest.thresholds.max_film_distance is not None:
        yield "max_film_distance, max_feature_distance: widened at the most"
    yield "min_spread: lowered at the most"


def _limit_changes(chosen: Thresholds, manifest: ModelManifest, temperature: float, others: int) -> Thresholds:
    """Return the chosen thresholds without changes that the films are no evidence for.

    Limits that refuse pictures are only ever widened, since every film here is to be assessed. `max_other` keeps its
    meaning, carried over to the new temperature, where too few films have an other finding.
    """
    old = manifest.thresholds
    changes: dict[str, object] = {
        "min_spread": min(chosen.min_spread, old.min_spread),
        "max_film_distance": _wider(chosen.max_film_distance, old.max_film_distance),
        "max_feature_distance": _wider(chosen.max_feature_distance, old.max_feature_distance),
    }
    if others < LEAST_OTHERS:
        changes["max_other"] = old.max_other and {
            label: _at_temperature(limit, manifest.temperature, temperature) for label, limit in old.max_other.items()
        }
    return chosen.model_copy(update=changes)


def _wider(new: float | None, old: float | None) -> float | None:
    return None if new is None or old is None else max(new, old)


def _at_temperature(probability: float, before: float, after: float) -> float:
    """Return the probability that the same logit difference to the leading label has at another temperature."""
    if not 0 < probability < 1:
        return probability
    return 1 / (1 + exp(-log(probability / (1 - probability)) * before / after))
