"""How the report on a model reads on the model page: goals, and each split with its intervals.

Without a report the splits are those of the manifest, whose measures that are no shares have no interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from shared.db.queries import KnownModel
from shared.manifest import SplitMetrics
from shared.model_report import Estimate, Goal, Source, SplitReport
from web import present

MEASURES: Final[Mapping[str, str]] = MappingProxyType(
    {"balanced_accuracy": "Balanced accuracy", "macro_f1": "Macro F1", "ece15": "Calibration error, 15 bins"}
)
REACHED: Final[Mapping[bool | None, str]] = MappingProxyType({True: "Yes", False: "No", None: "Not measured"})


@dataclass(frozen=True, slots=True)
class Measured:
    """One split as it is shown.

    Attributes:
        name, meaning: in words.
        split: its shares and its confusion.
        estimates: in words, with an interval; empty where there is no report.
        sources: by source and label; empty likewise.
    """

    name: str
    meaning: str
    split: SplitMetrics
    estimates: list[tuple[str, Estimate]]
    sources: list[Source]


def list_measured(model: KnownModel) -> list[Measured]:
    """Every split, the most telling first: of the report, else of the manifest."""
    if model.report is None:
        return [Measured(*found, [], []) for found in present.list_splits(model.manifest.metrics)]
    return [_measured(*found) for found in present.list_splits(model.report.splits)]


def _measured(name: str, meaning: str, split: SplitReport) -> Measured:
    estimates = [(MEASURES.get(measure, measure), value) for measure, value in split.estimates.items()]
    return Measured(name, meaning, split.metrics, estimates, split.sources)


def reached(goal: Goal) -> str:
    """Whether a goal is reached, in words."""
    return REACHED[goal.reached]


FILTERS: Final[Mapping[str, Callable[..., object]]] = MappingProxyType(
    {"list_measured": list_measured, "reached": reached}
)
