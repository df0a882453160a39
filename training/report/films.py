"""What the model said of each film, as a CSV with one row a film: for whoever wants to look further."""

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
    """Before hours of measuring, not after them.

    Raises:
        DataProblem: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        raise DataProblem(f"The file '{path}' cannot be written: {error.strerror}.", path=str(path)) from error


def write_films(path: Path, answers: Answers, labels: tuple[str, ...], root: Path) -> None:
    """Write `FIRST`, a probability for each label, and `LAST`; several reasons or labels in a cell by spaces.

    Args:
        labels: the model's, in score order.
        root: the folder that film names are told relative to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*FIRST, *(f"p_{label}" for label in labels), *LAST))
        rows = zip(answers.examples, answers.evidence, answers.assessments, strict=True)
        writer.writerows(_row(film_name(example.path, root), example, seen, told) for example, seen, told in rows)


def _row(name: str, example: Example, seen: Evidence, told: Assessment) -> tuple[object, ...]:
    choice = max(told.probabilities, key=told.probabilities.__getitem__)
    words = (" ".join(told.reasons), " ".join(told.prediction_set))
    scores = [f"{probability:.6f}" for probability in told.probabilities.values()]
    numbers = [f"{number:.6g}" for number in (seen.other, seen.film_distance, seen.feature_distance)]
    return (name, example.label, example.pool, choice, told.verdict.value, *words, *scores, *numbers)
