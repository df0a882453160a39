"""The report as sections of sentences and tables: what the model card and report.html both say, in one place.

Pure functions of the document. Sentences may hold `code`, *emphasis* and **weight**, as in Markdown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shared.model_report import Goal, ModelReport
from shared.verdict import describe_doubts, describe_obstacles
from training.report import words
from training.report.marks import code

SECOND: Final = 2
THIRD: Final = 3
"""Levels of headings."""


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text; the first `words` columns hold words, the others numbers.

    `is_shaded`: the numbers are counts whose share of their row is worth a colour.
    """

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    is_shaded: bool = False


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


Block = str | Table | Bullets


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what stands below it; `key` names it for links and for charts."""

    key: str
    title: str
    blocks: tuple[Block, ...]
    level: int = SECOND


def use(report: ModelReport) -> Section:
    """What the model is for."""
    return Section("use", "Intended use", (report.intended_use,))


def limits(report: ModelReport) -> Section:
    """What it cannot do."""
    return Section("limits", "Limits", (Bullets(tuple(report.limits)),))


def identity(report: ModelReport) -> Section:
    """Which model this is."""
    took = f" in {report.train_seconds / 60:.1f} minutes" if report.train_seconds else ""
    items = (
        f"Recipe {code(report.recipe)}, learned on {report.trained_at}{took}",
        f"Weights: {report.weights_bytes / 1e6:.1f} MB, SHA-256 `{report.weights_sha256}`",
        f"Measured on `{report.device}`, through the code that serves",
    )
    return Section("identity", "Identity", (Bullets(items),))


def films(report: ModelReport) -> Section:
    """What it learned from, and how the films were set apart."""
    names = {"validation": "kept for choosing"}
    rows = tuple((names.get(name, words.label(name)), str(count)) for name, count in report.trained_on.items())
    table = Table(("learned from", "films"), rows)
    told = (report.split_method or "Not stated.", _checked(report), *_recalibrated(report))
    return Section("films", "Films, and how they were set apart", (*told, table))


def _checked(report: ModelReport) -> str:
    if report.learned_films is None:
        return "This model keeps no record of the films it learned from: that none of them is measured was not checked."
    return (
        f"No measured film outside `validation` is, byte for byte, one of the {report.learned_films} that were learned "
        "from or chosen by. A film that was saved anew would not be found so."
    )


def _recalibrated(report: ModelReport) -> tuple[str, ...]:
    found = report.recalibration
    if found is None:
        return ()
    kept = "none of them is measured here" if found.is_checked else "the model does not keep which: one may be measured"
    return (f"**Temperature and thresholds were set anew** by {found.films} other films; {kept}.",)


def goals(report: ModelReport) -> Section:
    """The goals and which of them are reached."""
    headers = ("measure", "goal", "reached", "value", "95 % interval", "n", "note")
    return Section("goals", "Goals", (Table(headers, tuple(_goal(goal) for goal in report.goals), words=3),))


def _goal(goal: Goal) -> tuple[str, ...]:
    numbers = (goal.show(goal.value), goal.show_ends(), words.count(goal.n))
    return (goal.measure, words.goal_words(goal), words.REACHED[goal.reached], *numbers, goal.note)


def verdicts(report: ModelReport) -> Section:
    """Temperature, thresholds and prediction sets."""
    sets = tuple((f"`{label}`", f"{1 - found:.4f}") for label, found in report.thresholds.set_quantiles.items())
    sizes = tuple(
        (f"`{name}`", words.number(split.sets.mean_size), words.count(split.sets.mean_size.n))
        for name, split in report.splits.items()
        if split.sets.mean_size is not None
    )
    about = (
        f"Scores are divided by a temperature of {report.temperature:.4f}. A film is *not assessable* where "
        f"{', or '.join(describe_obstacles(report.thresholds))}. Else the verdict is *uncertain* where "
        f"{', or '.join(describe_doubts(report.thresholds, words.label))}. All these limits belong to this version."
    )
    blocks = (
        about,
        Table(("label", "enters the prediction set from probability"), sets),
        "How often the sets hold the label stands with each split; their mean size:",
        Table(("split", "mean size", "n"), sizes),
    )
    return Section("verdicts", "From scores to a verdict", blocks)
