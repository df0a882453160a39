"""The goals set for the model that ships, and which of them the report on a model reaches. Pure: document in, rows out.

Each line finds its number in the document. Where the document lacks it the line stays, with `reached` None and a note
that says so. Whether a goal is reached is judged by the value alone; the interval tells how sure that is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from shared.manifest import Rate
from shared.model_report import Estimate, Goal, ModelReport, SplitReport
from training.metrics import macro_f1

MEGABYTE: Final = 1_000_000
"""Bytes."""
MINUTE: Final = 60
"""Seconds."""
EXACT: Final = 9
"""Decimals that a number is judged by: 87 of 100 sets are .03 from .9, which in binary is a little more."""
NOT_MEASURED: Final = "Not measured."

HANNOVER: Final = "x_hannover"
NIH: Final = "x_nih"
"""Pools of the external split."""


Measured = Rate | Estimate


@dataclass(frozen=True, slots=True)
class Found:
    """What a line of the table says: a number, its interval and n where it has them.

    `note` is told in any case, `why` where the goal is not reached.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    note: str = ""
    why: str = ""


Find = Callable[[ModelReport], Found | None]
Counts = npt.NDArray[np.float64]
Weigh = Callable[[Counts, int, Rate], float]
"""How much a measure loses by the films of a source that are named wrongly: confusion, place of their label, recall."""


@dataclass(frozen=True, slots=True)
class Line:
    """One goal and where its number stands."""

    measure: str
    goal: Literal["at least", "at most"]
    limit: float
    find: Find


def judge(report: ModelReport) -> list[Goal]:
    """Every line of `LINES` for this report."""
    return [_judge(line, line.find(report)) for line in LINES]


def _judge(line: Line, found: Found | None) -> Goal:
    is_reached, note = None, NOT_MEASURED
    if found is not None:
        value = round(found.value, EXACT)
        is_reached = value >= line.limit if line.goal == "at least" else value <= line.limit
        notes = (found.note, "" if is_reached else found.why, _straddles(line, found))
        note = " ".join(filter(None, notes))
    return Goal(
        measure=line.measure,
        goal=line.goal,
        limit=line.limit,
        value=found and found.value,
        low=found and found.low,
        high=found and found.high,
        n=found and found.n,
        reached=is_reached,
        note=note,
    )


def _straddles(line: Line, found: Found) -> str:
    """A sentence where the interval has the limit inside: more films could tell otherwise."""
    if found.low is None or found.high is None or not found.low < line.limit < found.high:
        return ""
    return "The goal lies inside the interval: these films cannot settle it."


def _of(measured: Measured | None, note: str = "", why: str = "") -> Found | None:
    """A number with its interval; none where there is no number, or one of no film."""
    if measured is None or not measured.n:
        return None
    return Found(measured.value, measured.low, measured.high, measured.n, note, why)


def _weakest(report: ModelReport, split: SplitReport, weigh: Weigh) -> str:
    """The source and label that lose most: where to look first for what is missing."""
    known = [(row, row.recall) for row in split.sources if row.recall is not None and row.recall.n]
    counts, places = np.array(split.metrics.confusion, np.float64), {name: i for i, name in enumerate(report.labels)}
    row, recall = max(known, key=lambda pair: weigh(counts, places[pair[0].label], pair[1]), default=(None, None))
    if row is None or recall is None or recall.value == 1:
        return ""
    return f"Most is lost on {row.label} of {row.source or 'no stated source'}: {_lost(recall)} of {recall.n} wrong."


def _lost(recall: Rate) -> int:
    return round((1 - recall.value) * recall.n)


def _by_film(_confusion: Counts, _place: int, recall: Rate) -> float:
    """Each film counts alike, as in accuracy."""
    return _lost(recall)


def _by_label(confusion: Counts, place: int, recall: Rate) -> float:
    """Each label counts alike, as in balanced accuracy: films lost, as a share of the label's."""
    return _lost(recall) / max(1.0, float(confusion[place].sum()))


def _by_f1(confusion: Counts, place: int, recall: Rate) -> float:
    """Macro F1 were these films right; of the labels they were given it is known only for all films of theirs."""
    mended = confusion.copy()
    wrong = confusion[place].sum() - confusion[place, place]
    mended[place] *= 1 - _lost(recall) / max(1.0, wrong)
    mended[place, place] = confusion[place, place] + _lost(recall)
    return macro_f1(mended)


def _accuracy(split: str) -> Find:
    return lambda report: _in(
        report, split, lambda found: _of(found.metrics.accuracy, why=_weakest(report, found, _by_film))
    )


def _estimate(split: str, name: str) -> Find:
    def why(report: ModelReport, found: SplitReport) -> str:
        return _weakest(report, found, WEIGHED[name]) if name in WEIGHED else ""

    return lambda report: _in(report, split, lambda found: _of(found.estimates.get(name), why=why(report, found)))


def _coverage(split: str) -> Find:
    return lambda report: _in(report, split, lambda found: _of(found.metrics.coverage, _of_labels(report, found)))


def _of_labels(report: ModelReport, split: SplitReport) -> str:
    """Coverage counts films with other labels too, which should get no verdict: say what it is of the others."""
    own = [rate for label, rate in split.metrics.coverage_by_label.items() if label in report.labels]
    films = sum(rate.n for rate in own)
    if not films or films == split.metrics.n:
        return ""
    share = sum(rate.value * rate.n for rate in own) / films
    return f"Of all films, those with an other finding among them; {share:.3f} of the {films} with one of the labels."


def _selective(split: str) -> Find:
    return lambda report: _in(report, split, lambda found: _of(found.metrics.selective_accuracy, _of_all(found)))


def _of_all(split: SplitReport) -> str:
    """Verdicts on films with an other finding are wrong: say what it is of all verdicts."""
    rate = split.metrics.verdict_precision
    if rate is None or not rate.n or rate.n == split.metrics.n:
        return ""
    return f"Of all {rate.n} verdicts, those on other findings among them, {rate.value:.3f} are right."


def _external(part: Literal["recall", "coverage"], source: str, label: str) -> Find:
    """A share of the films of one source and label of the external split."""

    def find(found: SplitReport) -> Found | None:
        rows = (row for row in found.sources if (row.source, row.label) == (source, label))
        return next((_of(getattr(row, part)) for row in rows), None)

    return lambda report: _in(report, "external", find)


def _in(report: ModelReport, split: str, find: Callable[[SplitReport], Found | None]) -> Found | None:
    return find(report.splits[split]) if split in report.splits else None


def _set_deviation(split: str) -> Find:
    return lambda report: _in(report, split, _largest_deviation)


def _largest_deviation(split: SplitReport) -> Found | None:
    """The label whose prediction sets are furthest from the nominal coverage."""
    nominal = split.sets.nominal
    far = max(split.sets.by_label.items(), key=lambda pair: abs(pair[1].value - nominal), default=None)
    if far is None:
        return None
    label, rate = far
    ends = (abs(rate.low - nominal), abs(rate.high - nominal))
    low = 0.0 if rate.low <= nominal <= rate.high else min(ends)
    note = f"{label}: {rate.value:.3f} of {rate.n} sets hold the label, {nominal:.2f} intended."
    return Found(abs(rate.value - nominal), low, max(ends), rate.n, note)


def _cross_validation(report: ModelReport) -> Found | None:
    found = report.cross_validation
    return _of(found.accuracy, f"Of {found.films}.") if found else None


def _flips(report: ModelReport) -> Found | None:
    if report.robustness is None or not report.robustness.changes:
        return None
    worst = max(report.robustness.changes, key=lambda change: change.flips.value)
    return _of(worst.flips, f"The worst change: {worst.name}; films of {report.robustness.split}.")


def _odd(report: ModelReport) -> Found | None:
    found = report.odd_inputs
    return _of(found.answered, ", ".join(found.answered_files)) if found else None


def _minutes(report: ModelReport) -> Found | None:
    return None if report.train_seconds is None else Found(report.train_seconds / MINUTE)


def _megabytes(report: ModelReport) -> Found | None:
    return Found(report.weights_bytes / MEGABYTE)


WEIGHED: Final[Mapping[str, Weigh]] = MappingProxyType({"balanced_accuracy": _by_label, "macro_f1": _by_f1})
"""Estimates that wrong choices lower, so that it helps to know where these are."""

LINES: Final = (
    Line("Test: accuracy", "at least", 0.97, _accuracy("test")),
    Line("Test: macro F1", "at least", 0.97, _estimate("test", "macro_f1")),
    Line("Cross-validation by group: accuracy", "at least", 0.96, _cross_validation),
    Line("Adults: balanced accuracy", "at least", 0.95, _estimate("test_adult", "balanced_accuracy")),
    Line("External: balanced accuracy", "at least", 0.88, _estimate("external", "balanced_accuracy")),
    Line("External: share given a verdict", "at least", 0.80, _coverage("external")),
    Line("External: accuracy of the verdicts given to films of the labels", "at least", 0.88, _selective("external")),
    Line("External, Hannover: recall of covid19", "at least", 0.98, _external("recall", HANNOVER, "covid19")),
    Line("External, NIH: recall of normal", "at least", 0.92, _external("recall", NIH, "normal")),
    Line("Known other findings given a verdict", "at most", 0.05, _coverage("ood")),
    Line(
        "Other finding never learned (NIH pneumonia) given a verdict",
        "at most",
        0.40,
        _external("coverage", NIH, "other_pneumonia"),
    ),
    Line("Odd inputs given a verdict", "at most", 0.0, _odd),
    Line("Test: calibration error", "at most", 0.03, _estimate("test", "ece15")),
    Line("External: calibration error", "at most", 0.08, _estimate("external", "ece15")),
    Line("Adults: largest deviation of set coverage", "at most", 0.03, _set_deviation("test_adult")),
    Line("Verdict flips by a harmless change", "at most", 0.03, _flips),
    Line("Learning time, minutes", "at most", 60.0, _minutes),
    Line("Weights, MB", "at most", 16.0, _megabytes),
)
