"""The report as sections of sentences and tables, shared by the model card and report.html.

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
"""Heading levels."""


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text; the first `words` columns hold words, the others numbers.

    `is_shaded`: the numbers are counts, coloured by their share of the row.
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
    """A heading with the blocks below it; `key` identifies it for links and charts."""

    key: str
    title: str
    blocks: tuple[Block, ...]
    level: int = SECOND


def use(report: ModelReport) -> Section:
    """Return the intended use."""
    return Section("use", "Intended use", (report.intended_use,))


def limits(report: ModelReport) -> Section:
    """Return the limits of the model."""
    return Section("limits", "Limits", (Bullets(tuple(report.limits)),))


def identity(report: ModelReport) -> Section:
    """Return recipe, weights and device of the model."""
    took = f" in {report.train_seconds / 60:.1f} minutes" if report.train_seconds else ""
    items = (
        f"Recipe {code(report.recipe)}, trained on {report.trained_at}{took}",
        f"Weights: {report.weights_bytes / 1e6:.1f} MB, SHA-256 `{report.weights_sha256}`",
        f"Evaluated on `{report.device}`, with the code that serves the model",
    )
    return Section("identity", "Identity", (Bullets(items),))


def films(report: ModelReport) -> Section:
    """Return the films of training and validation, and how the splits were made."""
    names = {"validation": "held out for validation"}
    rows = tuple((names.get(name, words.label(name)), str(count)) for name, count in report.trained_on.items())
    table = Table(("training data", "films"), rows)
    sentences = (report.split_method or "Not stated.", _checked(report), *_recalibrated(report))
    return Section("films", "Films, and how they were split", (*sentences, table))


def _checked(report: ModelReport) -> str:
    if report.learned_films is None:
        return "This model has no record of its training films: whether any of them is in a test set was not checked."
    return (
        f"No test film is byte for byte identical to one of the {report.learned_films} films used for training or "
        "validation. A film that was saved again in another form would not be detected by this check."
    )


def _recalibrated(report: ModelReport) -> tuple[str, ...]:
    recalibration = report.recalibration
    if recalibration is None:
        return ()
    kept = (
        "none is in a test set here"
        if recalibration.is_checked
        else "the model does not record which: one may be in a test"
    )
    few = (
        " **They are fewer than recalibration asks for** (`--few`): the limits depend on which films were drawn."
        if recalibration.is_few
        else ""
    )
    return (f"**Temperature and thresholds were recalibrated** on {recalibration.films} other films; {kept}.{few}",)


def goals(report: ModelReport) -> Section:
    """Return the goals and whether they are reached."""
    headers = ("measure", "goal", "reached", "value", "95 % interval", "n", "note")
    return Section("goals", "Goals", (Table(headers, tuple(_goal(goal) for goal in report.goals), words=3),))


def _goal(goal: Goal) -> tuple[str, ...]:
    numbers = (goal.show(goal.value), goal.show_ends(), words.count(goal.n))
    return (goal.measure, words.goal_words(goal), words.REACHED[goal.reached], *numbers, goal.note)


def verdicts(report: ModelReport) -> Section:
    """Return temperature, thresholds and prediction sets."""
    sets = tuple((f"`{label}`", f"{1 - quantile:.4f}") for label, quantile in report.thresholds.set_quantiles.items())
    sizes = tuple(
        (f"`{name}`", words.number(split.sets.mean_size), words.count(split.sets.mean_size.n))
        for name, split in report.splits.items()
        if split.sets.mean_size is not None
    )
    about = (
        f"Scores are divided by a temperature of {report.temperature:.4f}. A film is *not assessable* if "
        f"{', or '.join(describe_obstacles(report.thresholds))}. Otherwise the verdict is *uncertain* if "
        f"{', or '.join(describe_doubts(report.thresholds, words.label))}. All these limits belong to this version."
    )
    blocks = (
        about,
        Table(("label", "minimum probability for the prediction set"), sets),
        "How often the prediction sets contain the correct label is listed with each split. Their mean size:",
        Table(("split", "mean size", "n"), sizes),
    )
    return Section("verdicts", "From scores to a verdict", blocks)
