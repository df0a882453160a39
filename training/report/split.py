"""One split of the report, worked out from what the model said of its films. Arithmetic only; called by `build`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.domain import FloatArray
from shared.manifest import Rate, SplitMetrics
from shared.model_report import Estimate, Failure, Sets, Source, SplitReport
from training.evaluate import Answers, as_numbers, measure
from training.metrics import (
    Integers,
    balanced_accuracy,
    bootstrap,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    roc_auc,
    wilson,
)


def report_split(answers: Answers, labels: Sequence[str], nominal: float, root: Path) -> SplitReport:
    """All that is told of one split.

    Args:
        labels: the model's, in score order.
        nominal: the coverage that its prediction sets were set to.
        root: the folder that film names are told relative to.
    """
    metrics = measure(answers, labels)
    return SplitReport(
        metrics=metrics,
        estimates=_estimates(answers, labels, metrics),
        roc_auc=_roc_auc(answers, labels),
        sources=_sources(answers, labels),
        sets=_sets(answers, labels, nominal),
        failures=_failures(answers, labels, root),
    )


def as_json(split: SplitReport) -> dict[str, object]:
    """`as_numbers` of the split's metrics, with its sources and sets, and intervals and n of the estimates."""
    numbers = as_numbers(split.metrics)
    rates = numbers["intervals_95"]
    estimates = split.estimates | {f"roc_auc_{label}": found for label, found in split.roc_auc.items()}
    intervals = {name: [found.low, found.high] for name, found in estimates.items()}
    return numbers | {
        "intervals_95": (rates if isinstance(rates, dict) else {}) | intervals,
        "recall_by_label": {label: rate.model_dump() for label, rate in split.metrics.recall.items()},
        "n_forced_choice": split.metrics.accuracy.n if split.metrics.accuracy else 0,
        "roc_auc": {label: found.value for label, found in split.roc_auc.items()},
        "sources": [source.model_dump() for source in split.sources],
        "sets": split.sets.model_dump(),
    }


def film_name(path: Path, root: Path) -> str:
    """A film's path below `root`; its bare name where it lies elsewhere."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def forced(answers: Answers, labels: Sequence[str]) -> tuple[FloatArray, Integers]:
    """Of the films that have one of the labels: probabilities (M, K) and label indices (M,)."""
    indices = [index for index, label in enumerate(answers.truth) if label in labels]
    truth = np.array([labels.index(answers.truth[index]) for index in indices], np.int64)
    return answers.probabilities.reshape(-1, len(labels))[indices], truth


def _estimates(answers: Answers, labels: Sequence[str], metrics: SplitMetrics) -> dict[str, Estimate]:
    scores, truth = forced(answers, labels)
    if not len(truth):
        return {}
    chosen = scores.argmax(axis=1)

    def confusion(films: Integers) -> Integers:
        return confusion_matrix(truth[films], chosen[films], len(labels))

    measures = {
        "balanced_accuracy": lambda films: balanced_accuracy(confusion(films)),
        "macro_f1": lambda films: macro_f1(confusion(films)),
        "ece15": lambda films: expected_calibration_error(scores[films], truth[films]),
    }
    ends = {name: bootstrap(function, len(truth)) for name, function in measures.items()}
    return {
        name: Estimate(value=getattr(metrics, name), n=len(truth), low=low, high=high)
        for name, (low, high) in ends.items()
    }


def _roc_auc(answers: Answers, labels: Sequence[str]) -> dict[str, Estimate]:
    scores, truth = forced(answers, labels)
    found: dict[str, Estimate] = {}
    for index, label in enumerate(labels):
        if (truth == index).any() and (truth != index).any():
            own, is_own = scores[:, index], truth == index
            low, high = bootstrap(partial(_area, own, is_own), len(truth))
            found[label] = Estimate(value=roc_auc(own, is_own), n=len(truth), low=low, high=high)
    return found


def _area(scores: FloatArray, is_own: npt.NDArray[np.bool_], films: Integers) -> float:
    return roc_auc(scores[films], is_own[films])


def _sources(answers: Answers, labels: Sequence[str]) -> list[Source]:
    keys = [(example.pool, example.label) for example in answers.examples]
    chosen = [labels[index] for index in answers.probabilities.reshape(-1, len(labels)).argmax(axis=1)]
    is_hit = np.array([choice == label for choice, label in zip(chosen, answers.truth, strict=True)], bool)
    rows: list[Source] = []
    for pool, label in sorted(set(keys)):
        own = np.array([key == (pool, label) for key in keys], bool)
        recall = _rate(is_hit[own]) if label in labels else None
        rows.append(Source(source=pool, label=label, recall=recall, coverage=_rate(answers.has_verdict[own])))
    return rows


def _sets(answers: Answers, labels: Sequence[str], nominal: float) -> Sets:
    told = zip(answers.truth, answers.assessments, strict=True)
    pairs = [(label, assessment.prediction_set) for label, assessment in told if label in labels]
    by_label = {
        name: _rate(np.array([name in chosen for label, chosen in pairs if label == name], bool))
        for name in labels
        if any(label == name for label, _ in pairs)
    }
    sizes = [len(chosen) for _, chosen in pairs]
    return Sets(nominal=nominal, by_label=by_label, mean_size=float(np.mean(sizes)) if sizes else None)


def _failures(answers: Answers, labels: Sequence[str], root: Path) -> list[Failure]:
    """The most confident first."""
    found: list[Failure] = []
    for example, told in zip(answers.examples, answers.assessments, strict=True):
        choice, probability = max(told.probabilities.items(), key=lambda pair: pair[1])
        if example.label in labels and choice != example.label:
            name = film_name(example.path, root)
            found.append(
                Failure(
                    file=name, label=example.label, choice=choice, probability=probability, verdict=told.verdict.value
                )
            )
    return sorted(found, key=lambda failure: -failure.probability)


def _rate(is_hit: npt.NDArray[np.bool_]) -> Rate:
    return wilson(int(is_hit.sum()), len(is_hit))
