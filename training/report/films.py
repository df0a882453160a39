"""The model's answer on each film, as a CSV with one row a film, for further analysis."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

from shared.domain import Assessment, Evidence
from shared.errors import DataProblem
from training.dataset import Example
from training.evaluate import Answers
from training.report.split import film_name

FIRST: Final = ("file", "label", "pool", "choice", "verdict", "reasons", "prediction_set")
LAST: Final = ("other", "film_distance", "feature_distance")


def check_writable(path: Path) -> None:
    """Check that the file can be written, before hours of measuring and not after them.

    Raises:
        DataProblem: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        raise DataProblem(f"The file '{path}' cannot be written: {error.strerror}.", path=str(path)) from error


def write_films(path: Path, answers: Answers, labels: tuple[str, ...], root: Path) -> None:
    """Write the columns `FIRST`, a probability for each label, and `LAST`; spaces separate several values of a cell.

    Args:
        labels: the model's, in score order.
        root: the folder that film names are relative to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*FIRST, *(f"p_{label}" for label in labels), *LAST))
        rows = zip(answers.examples, answers.evidence, answers.assessments, strict=True)
        writer.writerows(
            _row(film_name(example.path, root), example, evidence, assessment) for example, evidence, assessment in rows
        )


def _row(name: str, example: Example, evidence: Evidence, assessment: Assessment) -> tuple[object, ...]:
    choice = max(assessment.probabilities, key=assessment.probabilities.__getitem__)
    words = (" ".join(assessment.reasons), " ".join(assessment.prediction_set))
    scores = [f"{probability:.6f}" for probability in assessment.probabilities.values()]
    numbers = [f"{number:.6g}" for number in (evidence.other, evidence.film_distance, evidence.feature_distance)]
    return (name, example.label, example.pool, choice, assessment.verdict.value, *words, *scores, *numbers)
