"""Measures a model on labelled films through `worker.engine` and `shared.verdict`: the very code that serves.

The model answers each film once (`ask`); all metrics are computed from these answers. Accuracy, recall, F1, ECE and
confusion are of the forced choice among the model's labels, on all films that have one of them. Coverage is the share
of all films, other labels included, that get a verdict naming one label; for a film with another label the right
answer is 'uncertain'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.arrays import FloatArray
from shared.domain import ABSTENTIONS, Assessment, Evidence
from shared.manifest import Rate, SplitMetrics
from shared.verdict import assess
from training.dataset import Example, ReadFilm, read_film
from training.features import Progress
from training.film_checks import check_films
from training.metrics import (
    Booleans,
    Integers,
    balanced_accuracy,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    share,
)
from worker.engine.base import Engine, look

BATCH: Final = 16
"""Films an engine call; on CPUs larger batches gain nothing."""

RATES: Final = ("accuracy", "coverage", "selective_accuracy", "verdict_precision")


@dataclass(frozen=True, slots=True)
class Answers:
    """A model's answers on N films, one entry a film in the same order.

    Attributes:
        examples: the films.
        evidence: outputs of the network and its input gate.
        assessments: verdicts, with reasons and prediction sets.
    """

    examples: tuple[Example, ...]
    evidence: tuple[Evidence, ...]
    assessments: tuple[Assessment, ...]

    @property
    def truth(self) -> tuple[str, ...]:
        """The films' labels."""
        return tuple(example.label for example in self.examples)

    @property
    def groups(self) -> tuple[str, ...]:
        """The films' groups."""
        return tuple(example.group for example in self.examples)

    @property
    def probabilities(self) -> FloatArray:
        """(N, K) float32, calibrated."""
        return np.array([evidence.probabilities for evidence in self.evidence], np.float32)

    @property
    def has_verdict(self) -> Booleans:
        """(N,) bool: whether the verdict names one of the model's labels."""
        return np.array([assessment.verdict not in ABSTENTIONS for assessment in self.assessments], bool)


def ask(engine: Engine, examples: Sequence[Example], progress: Progress, *, read: ReadFilm = read_film) -> Answers:
    """Return the model's answers: every film goes through preprocessing, engine and verdict, as in the worker.

    Raises:
        DataProblem: a film cannot be read; raised before the first film is classified.
    """
    check_films(examples, read)
    return answer(engine, examples, progress, read=read)


def answer(engine: Engine, examples: Sequence[Example], progress: Progress, *, read: ReadFilm = read_film) -> Answers:
    """Return the model's answers, as `ask` does, on films that were checked already."""
    evidence: list[Evidence] = []
    for start in range(0, len(examples), BATCH):
        evidence += look(engine, (read(example.path) for example in examples[start : start + BATCH]))
        progress("films measured", len(evidence), len(examples))
    return Answers(tuple(examples), tuple(evidence), tuple(assess(seen, engine.manifest) for seen in evidence))


def measure(answers: Answers, labels: Sequence[str]) -> SplitMetrics:
    """Return all metrics of one split; those of the forced choice stay empty where no film has one of the labels."""
    names, groups = (np.array(each, dtype=object) for each in (answers.truth, answers.groups))
    has_verdict = answers.has_verdict
    coverage = {name: share(has_verdict[names == name], groups[names == name]) for name in sorted(set(answers.truth))}
    coverage_only = SplitMetrics(n=len(names), coverage=share(has_verdict, groups), coverage_by_label=coverage)
    is_labelled = np.isin(names, labels)
    if not is_labelled.any():
        return coverage_only
    scores, truth = (
        answers.probabilities[is_labelled],
        np.array([labels.index(name) for name in names[is_labelled]], np.int64),
    )
    is_hit = np.zeros(len(names), bool)
    is_hit[is_labelled] = scores.argmax(axis=1) == truth
    is_chosen = is_labelled & has_verdict
    return coverage_only.model_copy(
        update=_forced_choice(scores, truth, groups[is_labelled], labels)
        | {
            "selective_accuracy": share(is_hit[is_chosen], groups[is_chosen]),
            "verdict_precision": share(is_hit[has_verdict], groups[has_verdict]),
        }
    )


def _forced_choice(
    scores: FloatArray, truth: Integers, groups: npt.NDArray[np.object_], labels: Sequence[str]
) -> dict[str, object]:
    """Return the metrics of the forced choice among the labels, on films that have one."""
    chosen = scores.argmax(axis=1)
    is_hit = chosen == truth
    confusion = confusion_matrix(truth, chosen, len(labels))
    by_label = {name: truth == place for place, name in enumerate(labels) if (truth == place).any()}
    return {
        "accuracy": share(is_hit, groups),
        "balanced_accuracy": balanced_accuracy(confusion),
        "macro_f1": macro_f1(confusion),
        "ece15": expected_calibration_error(scores, truth),
        "recall": {name: share(is_hit[is_own], groups[is_own]) for name, is_own in by_label.items()},
        "confusion": confusion.tolist(),
    }


def as_numbers(metrics: SplitMetrics) -> dict[str, object]:
    """Return one flat JSON object: plain numbers under the metrics' names, with intervals and n."""
    rates = {name: value for name in RATES if (value := getattr(metrics, name)) is not None}
    return {
        "n": metrics.n,
        "accuracy": number(metrics.accuracy),
        "balanced_accuracy": metrics.balanced_accuracy,
        "macro_f1": metrics.macro_f1,
        "ece15": metrics.ece15,
        "recall": {label: rate.value for label, rate in metrics.recall.items()},
        "coverage": metrics.coverage.value,
        "coverage_by_label": {label: rate.value for label, rate in metrics.coverage_by_label.items()},
        "selective_accuracy": number(metrics.selective_accuracy),
        "verdict_precision": number(metrics.verdict_precision),
        "confusion": metrics.confusion,
        "n_by_label": {label: rate.n for label, rate in metrics.coverage_by_label.items()},
        "intervals_95": {name: [rate.low, rate.high] for name, rate in rates.items()},
    }


def number(rate: Rate | None) -> float | None:
    """Return a share as a plain number; None where no film was counted, of which there is no share."""
    return None if rate is None or rate.n == 0 else rate.value
