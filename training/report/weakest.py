"""The source and label on which a measure loses most: where to look first when a goal is not reached. Pure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from shared.manifest import Rate
from shared.model_report import ModelReport, SplitReport
from training.metrics import macro_f1

Counts = npt.NDArray[np.float64]
LossMeasure = Callable[[Counts, int, Rate], float]
"""Confusion matrix, place of a source's label, its recall there, to a number that ranks sources by what they lose."""


def weakest_source(report: ModelReport, split: SplitReport, loss: LossMeasure) -> str:
    """Return a sentence that names the source and label that lose most; '' where nothing is lost."""
    known = [(row, row.recall) for row in split.sources if row.recall is not None and row.recall.n]
    counts, places = np.array(split.metrics.confusion, np.float64), {name: i for i, name in enumerate(report.labels)}
    row, recall = max(known, key=lambda pair: loss(counts, places[pair[0].label], pair[1]), default=(None, None))
    if row is None or recall is None or recall.value == 1:
        return ""
    source = row.source or "no stated source"
    return f"Most is lost on {row.label} of {source}: {_wrong_films(recall)} of {recall.n} wrong."


def loss_by_film(_confusion: Counts, _place: int, recall: Rate) -> float:
    """Return the number of wrong films: each film counts alike, as in accuracy."""
    return _wrong_films(recall)


def loss_by_label(confusion: Counts, place: int, recall: Rate) -> float:
    """Return the wrong films as a share of the label's films: each label counts alike, as in balanced accuracy."""
    return _wrong_films(recall) / max(1.0, float(confusion[place].sum()))


def loss_by_f1(confusion: Counts, place: int, recall: Rate) -> float:
    """Return the macro F1 that the split would have if these films were right.

    Which labels they were given is known only for all films of their label together, so the wrong choices are removed
    from these in proportion.
    """
    corrected = confusion.copy()
    wrong = confusion[place].sum() - confusion[place, place]
    corrected[place] *= 1 - _wrong_films(recall) / max(1.0, wrong)
    corrected[place, place] = confusion[place, place] + _wrong_films(recall)
    return macro_f1(corrected)


def _wrong_films(recall: Rate) -> int:
    return round((1 - recall.value) * recall.n)
