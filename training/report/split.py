"""One split of the report, computed from the model's answers on its films. Arithmetic only; called by `build.py`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from shared.arrays import FloatArray
from shared.manifest import Rate
from shared.model_report import Bin, Estimate, Failure, LabelScores, Sets, Source, SplitReport
from training.evaluate import Answers, as_numbers, measure, number
from training.metrics import (
    Booleans,
    Integers,
    balanced_accuracy,
    confusion_matrix,
    estimate,
    expected_calibration_error,
    f1,
    macro_f1,
    reliability,
    roc_auc,
    share,
)


def report_split(answers: Answers, labels: Sequence[str], nominal: float, root: Path) -> SplitReport:
    """Return all measurements of one split.

    Args:
        labels: the model's, in score order.
        nominal: the nominal coverage of its prediction sets.
        root: the folder that film names are relative to.
    """
    return SplitReport(
        metrics=measure(answers, labels),
        estimates=_estimates(answers, labels),
        roc_auc=_roc_auc(answers, labels),
        by_label=_label_scores(answers, labels),
        groups=len(set(answers.groups)),
        sources=_sources(answers, labels),
        sets=_sets(answers, labels, nominal),
        failures=_failures(answers, labels, root),
        reliability=_reliability(answers, labels),
    )


def as_json(split: SplitReport) -> dict[str, object]:
    """Return `as_numbers` of the split's metrics, with its sources and sets, and intervals and n of the estimates."""
    numbers = as_numbers(split.metrics)
    rates = numbers["intervals_95"]
    estimates = split.estimates | {f"roc_auc_{label}": area for label, area in split.roc_auc.items()}
    intervals = {name: [value.low, value.high] for name, value in estimates.items()}
    return numbers | {
        "intervals_95": (rates if isinstance(rates, dict) else {}) | intervals,
        "precision": {label: number(scores.precision) for label, scores in split.by_label.items()},
        "f1": {label: scores.f1.value for label, scores in split.by_label.items()},
        "groups": split.groups,
        "recall_by_label": {label: rate.model_dump() for label, rate in split.metrics.recall.items()},
        "n_forced_choice": split.metrics.accuracy.n if split.metrics.accuracy else 0,
        "roc_auc": {label: area.value for label, area in split.roc_auc.items()},
        "sources": [source.model_dump() for source in split.sources],
        "sets": split.sets.model_dump(),
    }


def film_name(path: Path, root: Path) -> str:
    """Return a film's path relative to `root`; its name alone where it lies elsewhere."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def forced(answers: Answers, labels: Sequence[str]) -> tuple[FloatArray, Integers, list[str]]:
    """Return probabilities (M, K), label indices (M,) and groups of the films that have one of the labels."""
    labelled = [place for place, label in enumerate(answers.truth) if label in labels]
    truth = np.array([labels.index(answers.truth[place]) for place in labelled], np.int64)
    return (
        answers.probabilities.reshape(-1, len(labels))[labelled],
        truth,
        [answers.groups[place] for place in labelled],
    )


def score_labels(
    truth: Integers, chosen: Integers, groups: Sequence[str], labels: Sequence[str]
) -> dict[str, LabelScores]:
    """Return precision, recall and F1 of each label that a film has, from forced choices (M,)."""
    names = np.array(groups, dtype=object)
    scores: dict[str, LabelScores] = {}
    for place, label in enumerate(labels):
        is_true, is_chosen = truth == place, chosen == place
        if not is_true.any():
            continue
        scores[label] = LabelScores(
            precision=share(is_true[is_chosen], names[is_chosen]),
            recall=share(is_chosen[is_true], names[is_true]),
            f1=estimate(partial(_f1, truth, chosen, len(labels), place), names),
        )
    return scores


def _f1(truth: Integers, chosen: Integers, labels: int, place: int, films: Integers) -> float:
    return float(f1(confusion_matrix(truth[films], chosen[films], labels))[place])


def _label_scores(answers: Answers, labels: Sequence[str]) -> dict[str, LabelScores]:
    scores, truth, groups = forced(answers, labels)
    return score_labels(truth, scores.argmax(axis=1), groups, labels)


def _estimates(answers: Answers, labels: Sequence[str]) -> dict[str, Estimate]:
    scores, truth, groups = forced(answers, labels)
    if not groups:
        return {}
    chosen = scores.argmax(axis=1)

    def confusion(films: Integers) -> Integers:
        return confusion_matrix(truth[films], chosen[films], len(labels))

    measures = {
        "balanced_accuracy": lambda films: balanced_accuracy(confusion(films)),
        "macro_f1": lambda films: macro_f1(confusion(films)),
        "ece15": lambda films: expected_calibration_error(scores[films], truth[films]),
    }
    return {name: estimate(function, groups) for name, function in measures.items()}


def _reliability(answers: Answers, labels: Sequence[str]) -> list[Bin]:
    scores, truth, groups = forced(answers, labels)
    return reliability(scores, truth, groups) if groups else []


def _roc_auc(answers: Answers, labels: Sequence[str]) -> dict[str, Estimate]:
    scores, truth, groups = forced(answers, labels)
    areas: dict[str, Estimate] = {}
    for index, label in enumerate(labels):
        if (truth == index).any() and (truth != index).any():
            areas[label] = estimate(partial(_area, scores[:, index], truth == index), groups)
    return areas


def _area(scores: FloatArray, is_positive: Booleans, films: Integers) -> float:
    return roc_auc(scores[films], is_positive[films])


def _sources(answers: Answers, labels: Sequence[str]) -> list[Source]:
    keys = [(example.pool, example.label) for example in answers.examples]
    chosen = [labels[index] for index in answers.probabilities.reshape(-1, len(labels)).argmax(axis=1)]
    is_hit = np.array([choice == label for choice, label in zip(chosen, answers.truth, strict=True)], bool)
    groups = np.array(answers.groups, dtype=object)
    rows: list[Source] = []
    for pool, label in sorted(set(keys)):
        in_source = np.array([key == (pool, label) for key in keys], bool)
        recall = share(is_hit[in_source], groups[in_source]) if label in labels else None
        coverage = share(answers.has_verdict[in_source], groups[in_source])
        rows.append(Source(source=pool, label=label, recall=recall, coverage=coverage))
    return rows


def _sets(answers: Answers, labels: Sequence[str], nominal: float) -> Sets:
    films = zip(answers.truth, answers.groups, answers.assessments, strict=True)
    rows = [(label, group, assessment.prediction_set) for label, group, assessment in films if label in labels]
    by_label: dict[str, Rate] = {}
    for name in labels:
        of_label = [(group, name in chosen) for label, group, chosen in rows if label == name]
        if of_label:
            by_label[name] = share(np.array([holds for _, holds in of_label], bool), [group for group, _ in of_label])
    return Sets(
        nominal=nominal,
        by_label=by_label,
        mean_size=_mean_size([len(chosen) for _, _, chosen in rows], [group for _, group, _ in rows], len(labels)),
    )


def _mean_size(sizes: Sequence[int], groups: Sequence[str], most: int) -> Estimate | None:
    if not sizes:
        return None
    counts = np.array(sizes)
    return estimate(lambda films: float(counts[films].mean()), groups, ends=(0.0, float(most)))


def _failures(answers: Answers, labels: Sequence[str], root: Path) -> list[Failure]:
    """Return wrong choices, and verdicts on films that have none of the labels; the most confident first."""
    failures: list[Failure] = []
    for example, assessment in zip(answers.examples, answers.assessments, strict=True):
        choice, probability = max(assessment.probabilities.items(), key=lambda pair: pair[1])
        verdict = assessment.verdict.value
        is_wrong = choice != example.label if example.label in labels else verdict in labels
        if is_wrong:
            name = film_name(example.path, root)
            failures.append(
                Failure(file=name, label=example.label, choice=choice, probability=probability, verdict=verdict)
            )
    return sorted(failures, key=lambda failure: -failure.probability)
