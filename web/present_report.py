"""Turns the report on a model into the words of the model page: goals, and each split with its intervals.

Without a report the splits are those of the manifest, which has no intervals for measures that are no shares.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from shared.db.model_queries import KnownModel
from shared.manifest import Rate, SplitMetrics
from shared.model_report import Bin, Estimate, Goal, Source, SplitReport
from web import present

MEASURES: Final[Mapping[str, str]] = MappingProxyType(
    {"balanced_accuracy": "Balanced accuracy", "macro_f1": "Macro F1", "ece15": "Expected calibration error, 15 bins"}
)
POOLS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "covA": "Radiography Database, many sites",
        "covB": "Radiography Database, its later part (BIMCV)",
        "normP": "Kermany, small children",
        "normA": "RSNA, of NIH ChestX-ray",
        "vp": "Kermany, small children",
        "kermany_bacteria": "Kermany, bacterial pneumonia of small children",
        "tb": "Tuberculosis films, origin not stated",
        "x_kermany_bacteria": "Kermany, bacterial pneumonia of small children",
        "x_kermany_test": "Kermany, test films",
        "x_tb": "Tuberculosis films, origin not stated",
        "x_hannover": "Hannover",
        "x_actualmed": "Actualmed",
        "x_figure1": "Figure 1",
        "x_ieee8023": "ieee8023",
        "x_nih": "NIH ChestX-ray",
    }
)
"""Names of the films' collections; MODEL_CARD.md describes each."""

NEVER_LEARNED: Final = ("x_nih", "other_pneumonia")
"""Source and label of the films with a finding that no model was trained on."""

CONTROLS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "lungs_blacked_out": "Films with the lungs blacked out",
        "border_only": "Only the outer tenth of each film",
        "thumbnail_16": "Films reduced to 16 x 16 pixels",
        "metadata_only": "Only image size, format and mean grey",
    }
)
"""What a control shows of a film."""

REACHED: Final[Mapping[bool | None, str]] = MappingProxyType({True: "Yes", False: "No", None: "Not measured"})


@dataclass(frozen=True, slots=True)
class Measured:
    """One split as the page shows it.

    Attributes:
        name, meaning: in words.
        split: its shares and confusion matrix.
        estimates: (name, value with interval); empty without a report.
        sources: results by source and label; empty without a report.
        bins: of the calibration error; empty without a report, or with one of an older build.
    """

    name: str
    meaning: str
    split: SplitMetrics
    estimates: list[tuple[str, Estimate]]
    sources: list[Source]
    bins: list[Bin]


def list_measured(model: KnownModel) -> list[Measured]:
    """Return every split of the report, or else of the manifest, the most informative first."""
    if model.report is None:
        return [Measured(*split, [], [], []) for split in present.list_splits(model.manifest.metrics)]
    return [_measured(*split) for split in present.list_splits(model.report.splits)]


def _measured(name: str, meaning: str, split: SplitReport) -> Measured:
    estimates = [(MEASURES.get(measure, measure), value) for measure, value in split.estimates.items()]
    estimates += [(f"ROC AUC, {present.name_label(label)}", value) for label, value in split.roc_auc.items()]
    if split.sets.mean_size is not None:
        estimates.append(("Mean size of the prediction set", split.sets.mean_size))
    return Measured(name, meaning, split.metrics, estimates, split.sources, split.reliability)


def reached(goal: Goal) -> str:
    """Return whether a goal is reached, in words; says so if the goal lies inside the value's interval."""
    words = REACHED[goal.reached]
    is_open = goal.low is not None and goal.high is not None and goal.low <= goal.limit <= goal.high != goal.low
    if goal.reached is None or not is_open:
        return words
    return f"{words}, within the interval"


def name_pool(code: str) -> str:
    """'x_nih' -> 'NIH ChestX-ray'; a collection unknown to this build keeps its code."""
    return POOLS.get(code, code) or "not stated"


def name_codes(sentence: str) -> str:
    """Return a sentence of the report with the codes of labels and collections replaced by their names."""
    return re.sub(r"\w+", lambda code: POOLS.get(code[0]) or present.name_label(code[0]), sentence)


def name_split(code: str) -> str:
    """'test_adult' -> 'Test, adults'; one unknown to this build keeps its code."""
    return present.SPLITS.get(code, (code, ""))[0]


def name_control(code: str) -> str:
    """'border_only' in words; one unknown to this build keeps its code."""
    return CONTROLS.get(code, code)


def find_never_learned(model: KnownModel) -> Rate | None:
    """Return the share of films with a finding unknown to the model that were given a label; None if not measured."""
    external = model.report.splits.get("external") if model.report else None
    rows = external.sources if external else []
    return next((row.coverage for row in rows if (row.source, row.label) == NEVER_LEARNED), None)


def show_rate(rate: Rate) -> str:
    """'9.1 % (5.1 to 15.6)'."""
    return f"{present.percent(rate.value)} ({rate.low * 100:.1f} to {rate.high * 100:.1f})"


FILTERS: Final[Mapping[str, Callable[..., object]]] = MappingProxyType(
    {
        "list_measured": list_measured,
        "reached": reached,
        "name_pool": name_pool,
        "name_codes": name_codes,
        "name_split": name_split,
        "name_control": name_control,
        "find_never_learned": find_never_learned,
        "show_rate": show_rate,
    }
)
