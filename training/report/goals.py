"""The goals set for the model that ships, and which of them the report on a model reaches. Pure: document in, rows out.

Each line reads its number from the document. Where the document lacks it, the line stays, with `reached` None and a
note. A goal is judged by the value alone; the interval tells how certain the judgement is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from shared.manifest import Rate
from shared.model_report import Estimate, Goal, ModelReport, SplitReport
from training.report.weakest import LossMeasure, loss_by_f1, loss_by_film, loss_by_label, weakest_source

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


@dataclass(frozen=True, slots=True)
class Measurement:
    """The number of one line, with its interval and n where it has them.

    `note` is shown in any case, `why` only where the goal is not reached.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    note: str = ""
    why: str = ""


Find = Callable[[ModelReport], Measurement | None]
FindInSplit = Callable[[ModelReport, SplitReport], Measurement | None]


@dataclass(frozen=True, slots=True)
class Line:
    """One goal and the function that finds its number."""

    measure: str
    goal: Literal["at least", "at most"]
    limit: float
    find: Find


def judge(report: ModelReport) -> list[Goal]:
    """Return every line of `LINES`, judged for this report."""
    return [_judge(line, line.find(report)) for line in LINES]


def _judge(line: Line, measured: Measurement | None) -> Goal:
    if measured is None:
        return Goal(
            measure=line.measure,
            goal=line.goal,
            limit=line.limit,
            value=None,
            low=None,
            high=None,
            n=None,
            reached=None,
            note=NOT_MEASURED,
        )
    value = round(measured.value, EXACT)
    is_reached = value >= line.limit if line.goal == "at least" else value <= line.limit
    notes = (measured.note, "" if is_reached else measured.why, _straddle_note(line, measured))
    return Goal(
        measure=line.measure,
        goal=line.goal,
        limit=line.limit,
        value=measured.value,
        low=measured.low,
        high=measured.high,
        n=measured.n,
        reached=is_reached,
        note=" ".join(filter(None, notes)),
    )


def _straddle_note(line: Line, measured: Measurement) -> str:
    """Return a sentence where the limit lies inside the interval: more films could change the judgement."""
    if measured.low is None or measured.high is None or not measured.low < line.limit < measured.high:
        return ""
    return "The goal lies inside the interval: these films cannot settle it."


def _measurement(measured: Rate | Estimate | None, note: str = "", why: str = "") -> Measurement | None:
    """Return a number with its interval; None where there is no number, or one of no film."""
    if measured is None or not measured.n:
        return None
    return Measurement(measured.value, measured.low, measured.high, measured.n, note, why)


def _in(split: str, find: FindInSplit) -> Find:
    """Return a function that looks in one split of the report, and finds nothing where the report lacks the split."""

    def find_in_report(report: ModelReport) -> Measurement | None:
        return find(report, report.splits[split]) if split in report.splits else None

    return find_in_report


def _accuracy(report: ModelReport, split: SplitReport) -> Measurement | None:
    return _measurement(split.metrics.accuracy, why=weakest_source(report, split, loss_by_film))


def _estimate(name: str, loss: LossMeasure | None, report: ModelReport, split: SplitReport) -> Measurement | None:
    why = weakest_source(report, split, loss) if loss else ""
    return _measurement(split.estimates.get(name), why=why)


BALANCED_ACCURACY: Final = partial(_estimate, "balanced_accuracy", loss_by_label)
MACRO_F1: Final = partial(_estimate, "macro_f1", loss_by_f1)
CALIBRATION_ERROR: Final = partial(_estimate, "ece15", None)


def _coverage(report: ModelReport, split: SplitReport) -> Measurement | None:
    return _measurement(split.metrics.coverage, _labelled_coverage_note(report, split))


def _labelled_coverage_note(report: ModelReport, split: SplitReport) -> str:
    """Return the coverage of the films with one of the labels, where others, which should get no verdict, count too."""
    own = [rate for label, rate in split.metrics.coverage_by_label.items() if label in report.labels]
    films = sum(rate.n for rate in own)
    if not films or films == split.metrics.n:
        return ""
    share = sum(rate.value * rate.n for rate in own) / films
    return f"Of all films, those with an other finding among them; {share:.3f} of the {films} with one of the labels."


def _selective_accuracy(_report: ModelReport, split: SplitReport) -> Measurement | None:
    return _measurement(split.metrics.selective_accuracy, _verdict_precision_note(split))


def _verdict_precision_note(split: SplitReport) -> str:
    """Return the share of all verdicts that are right, where verdicts on other findings, which are wrong, count too."""
    rate = split.metrics.verdict_precision
    if rate is None or not rate.n or rate.n == split.metrics.n:
        return ""
    return f"Of all {rate.n} verdicts, those on other findings among them, {rate.value:.3f} are right."


def _of_source(
    part: Literal["recall", "coverage"], source: str, label: str, _report: ModelReport, split: SplitReport
) -> Measurement | None:
    """Return a share of the films of one source and label."""
    rows = (row for row in split.sources if (row.source, row.label) == (source, label))
    return next((_measurement(getattr(row, part)) for row in rows), None)


def _set_deviation(_report: ModelReport, split: SplitReport) -> Measurement | None:
    """Return the deviation of the label whose prediction sets are furthest from the nominal coverage."""
    nominal = split.sets.nominal
    furthest = max(split.sets.by_label.items(), key=lambda pair: abs(pair[1].value - nominal), default=None)
    if furthest is None:
        return None
    label, rate = furthest
    ends = (abs(rate.low - nominal), abs(rate.high - nominal))
    low = 0.0 if rate.low <= nominal <= rate.high else min(ends)
    note = f"{label}: {rate.value:.3f} of {rate.n} sets hold the label, {nominal:.2f} intended."
    return Measurement(abs(rate.value - nominal), low, max(ends), rate.n, note)


def _cross_validation(report: ModelReport) -> Measurement | None:
    folds = report.cross_validation
    return _measurement(folds.accuracy, f"Of {folds.films}.") if folds else None


def _flips(report: ModelReport) -> Measurement | None:
    if report.robustness is None or not report.robustness.changes:
        return None
    worst = max(report.robustness.changes, key=lambda change: change.flips.value)
    return _measurement(worst.flips, f"The worst change: {worst.name}; films of {report.robustness.split}.")


def _odd_inputs(report: ModelReport) -> Measurement | None:
    odd = report.odd_inputs
    return _measurement(odd.answered, ", ".join(odd.answered_files)) if odd else None


def _minutes(report: ModelReport) -> Measurement | None:
    return None if report.train_seconds is None else Measurement(report.train_seconds / MINUTE)


def _megabytes(report: ModelReport) -> Measurement | None:
    return Measurement(report.weights_bytes / MEGABYTE)


LINES: Final = (
    Line("Test: accuracy", "at least", 0.97, _in("test", _accuracy)),
    Line("Test: macro F1", "at least", 0.97, _in("test", MACRO_F1)),
    Line("Cross-validation by group: accuracy", "at least", 0.96, _cross_validation),
    Line("Adults: balanced accuracy", "at least", 0.95, _in("test_adult", BALANCED_ACCURACY)),
    Line("External: balanced accuracy", "at least", 0.88, _in("external", BALANCED_ACCURACY)),
    Line("External: share given a verdict", "at least", 0.80, _in("external", _coverage)),
    Line(
        "External: accuracy of the verdicts given to films of the labels",
        "at least",
        0.88,
        _in("external", _selective_accuracy),
    ),
    Line(
        "External, Hannover: recall of covid19",
        "at least",
        0.98,
        _in("external", partial(_of_source, "recall", HANNOVER, "covid19")),
    ),
    Line(
        "External, NIH: recall of normal",
        "at least",
        0.92,
        _in("external", partial(_of_source, "recall", NIH, "normal")),
    ),
    Line("Known other findings given a verdict", "at most", 0.05, _in("ood", _coverage)),
    Line(
        "Other finding never learned (NIH pneumonia) given a verdict",
        "at most",
        0.40,
        _in("external", partial(_of_source, "coverage", NIH, "other_pneumonia")),
    ),
    Line("Odd inputs given a verdict", "at most", 0.0, _odd_inputs),
    Line("Test: calibration error", "at most", 0.03, _in("test", CALIBRATION_ERROR)),
    Line("External: calibration error", "at most", 0.08, _in("external", CALIBRATION_ERROR)),
    Line("Adults: largest deviation of set coverage", "at most", 0.03, _in("test_adult", _set_deviation)),
    Line("Verdict flips by a harmless change", "at most", 0.03, _flips),
    Line("Learning time, minutes", "at most", 60.0, _minutes),
    Line("Weights, MB", "at most", 16.0, _megabytes),
)
