"""Sections of measurements: splits, sources, changes, odd inputs, controls, folds, explanations. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from shared.manifest import Rate
from shared.model_report import Control, LabelScores, ModelReport, SplitReport
from training.report import words
from training.report.marks import code, plain
from training.report.sections import THIRD, Block, Bullets, Section, Table

NOT_MEASURED = "Not measured."
RATE = ("95 % interval", "n")
EXTERNAL = "external"
VALIDATION = "validation"
KNOWN_HOSPITALS = frozenset({"x_nih", "x_kermany_test"})
"""Sources of the external split from hospitals that other training films are from."""


def splits(report: ModelReport) -> list[Section]:
    """Return a section on how to read the tables, then one section a split."""
    about = (
        "Accuracy, recall, F1, calibration error and ROC are computed for the forced choice among the labels, on all "
        "films that have one of them. *Given a verdict* (coverage) is the share of films whose verdict is a label; on "
        "the others the model abstains."
    )
    sections = [_split(name, split, report.labels) for name, split in report.splits.items()]
    return [Section("measured", "What was measured", (about,)), *sections]


def split_key(name: str) -> str:
    """Return the key of a split's section."""
    return f"split-{name}"


def _split(name: str, split: SplitReport, labels: Sequence[str]) -> Section:
    is_described = name == VALIDATION or all(row.source in words.SOURCES for row in split.sources)
    description = words.SPLITS.get(name) if is_described else None
    shares = [(about, words.share(rate), *_ends(rate)) for about, rate in words.rates(split)]
    others = [
        (about, f"{value.value:.3f}", f"{value.low:.3f}-{value.high:.3f}", words.count(value.n))
        for about, value in words.estimates(split)
    ]
    blocks: list[Block] = [
        f"{split.metrics.n} films of {split.groups} groups{f': {description}' if description else ''}."
    ]
    blocks += [_by_label(split.by_label)] if split.by_label else []
    blocks.append(Table(("share of films", "value", *RATE), tuple(shares)))
    blocks += [Table(("measure", "value", *RATE), tuple(others))] if others else []
    if name == EXTERNAL and (sentence := _unknown_hospitals(split)):
        blocks.append(sentence)
    if split.metrics.confusion:
        blocks.append(_confusion(labels, split.metrics.confusion))
    return Section(split_key(name), code(name), tuple(blocks), THIRD)


def _unknown_hospitals(split: SplitReport) -> str:
    """Return a sentence with the accuracy on the sources that share no hospital with the training films."""
    rows = [(row, row.recall) for row in split.sources if row.recall is not None]
    if not any(row.source in KNOWN_HOSPITALS for row, _ in rows):
        return ""
    right, films = Counter[str](), Counter[str]()
    for row, recall in rows:
        if row.source not in KNOWN_HOSPITALS:
            right[row.label] += round(recall.value * recall.n)
            films[row.label] += recall.n
    known = sum(recall.n for row, recall in rows if row.source in KNOWN_HOSPITALS)
    counts = ", ".join(f"{right[label]} of {films[label]} {words.label(label)}" for label in films)
    return (
        f"**{known} of the {known + films.total()} films with a label are from hospitals that training films come from "
        f"too** ({', '.join(sorted(KNOWN_HOSPITALS))}). On the other sources, the first choice is correct for {counts}."
    )


def _by_label(scores: Mapping[str, LabelScores]) -> Table:
    rows = tuple(
        (
            words.label(name),
            words.count(of_label.recall.n),
            words.share_with_ends(of_label.precision),
            words.share_with_ends(of_label.recall),
            words.number(of_label.f1),
        )
        for name, of_label in scores.items()
    )
    return Table(("label, forced choice", "n", "precision", "recall", "F1"), rows)


def _confusion(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Table:
    rows = tuple((words.label(label), *map(str, row)) for label, row in zip(labels, counts, strict=True))
    return Table(("label, by first choice", *map(words.label, labels)), rows, is_shaded=True)


def sources(report: ModelReport) -> Section:
    """Return a table of every split by source and label."""
    rows = tuple(
        (
            code(name),
            plain(words.source(row.source)),
            words.label(row.label),
            words.count(row.coverage.n),
            words.share_with_ends(row.recall),
            words.share_with_ends(row.coverage),
        )
        for name, split in report.splits.items()
        for row in split.sources
    )
    headers = ("split", "source", "label", "n", "recall", "given a verdict")
    named = {row.source for split in report.splits.values() for row in split.sources}
    legend = tuple(f"`{code}`: {description}." for code, description in words.SOURCES.items() if code in named)
    return Section("sources", "By source", (Table(headers, rows, words=3), *((Bullets(legend),) if legend else ())))


def robustness(report: ModelReport) -> Section:
    """Return a table of verdict flips."""
    flips, title = report.robustness, "Harmless changes"
    if flips is None:
        return Section("robustness", title, (NOT_MEASURED,))
    rows = [(change.name, words.share(change.flips), *_ends(change.flips)) for change in flips.changes]
    rows.append(("any of them, over all changed films", words.share(flips.any_change), *_ends(flips.any_change)))
    about = f"How often a change that should not matter alters the verdict on a film of {code(flips.split)}:"
    return Section("robustness", title, (about, Table(("change", "verdict flips", *RATE), tuple(rows))))


def odd(report: ModelReport) -> Section:
    """Return the share of the odd inputs that get a verdict, and their names."""
    inputs, title = report.odd_inputs, "Inputs that are not frontal chest films"
    if inputs is None:
        return Section("odd", title, (NOT_MEASURED,))
    about = f"Given a verdict that names a label: {words.share_with_ends(inputs.answered)}, n = {inputs.answered.n}."
    files = tuple(code(name) for name in inputs.answered_files)
    return Section("odd", title, (about, *((Bullets(files),) if files else ())))


def controls(report: ModelReport) -> Section:
    """Return the balanced accuracy of the controls beside the model's."""
    title = "Controls: classifiers without the relevant part of the film"
    if not report.controls:
        return Section("controls", title, (NOT_MEASURED,))
    kinds = {control.name: control.what for control in report.controls}
    near = tuple(words.control_sentences(report.controls))
    return Section(
        "controls",
        title,
        (
            Bullets(tuple(f"**{words.CONTROLS[name]}**: {what}" for name, what in kinds.items())),
            Table(
                ("split", "control", "near", "balanced accuracy", "the model's", "n"),
                tuple(_control(control) for control in report.controls),
                words=3,
            ),
            Bullets(near) if near else "No control comes close to the model.",
        ),
    )


def _control(control: Control) -> tuple[str, ...]:
    names = (code(control.split), words.CONTROLS[control.name], "yes" if control.is_near else "no")
    accuracy = control.balanced_accuracy
    return (*names, words.number(accuracy), f"{control.model_balanced_accuracy:.3f}", words.count(accuracy.n))


def cross_validation(report: ModelReport) -> Section:
    """Return the results of the cross-validation by group, by fold, label and confusion."""
    result, title = report.cross_validation, "Cross-validation"
    if result is None:
        return Section("folds", title, (NOT_MEASURED,))
    about = (
        f"Recipe {code(result.recipe)}, {plain(result.films)}. No group is in two folds: each film is classified "
        "once, by a network that was trained without its group."
    )
    rows = [
        (str(fold.fold), words.share(fold.accuracy), *_ends(fold.accuracy), words.number(fold.macro_f1))
        for fold in result.folds
    ]
    rows.append(("all", words.share(result.accuracy), *_ends(result.accuracy), words.number(result.macro_f1)))
    folds = Table(("fold", "accuracy", *RATE, "macro F1"), tuple(rows))
    return Section(
        "folds", title, (about, folds, _by_label(result.by_label), _confusion(report.labels, result.confusion))
    )


def left_out(report: ModelReport) -> Section:
    """Return the results of each source by a network trained without it."""
    title = "Leave one source out"
    if not report.leave_one_source_out:
        return Section("left-out", title, (NOT_MEASURED,))
    rows = tuple(
        (
            plain(words.source(row.pool)),
            words.label(row.label),
            words.count(row.coverage.n),
            words.share_with_ends(row.recall),
            words.share_with_ends(row.coverage),
        )
        for row in report.leave_one_source_out
    )
    table = Table(("source", "label", "n", "recall", "given a verdict"), rows, words=2)
    recipe = report.leave_one_source_out[0].recipe
    about = f"Films of each source, classified by a network trained without that source (recipe: {plain(recipe)}):"
    return Section("left-out", title, (about, table))


def explanations(report: ModelReport) -> Section:
    """Return the checks of the explanations: agreement, sanity, deletion and insertion."""
    checks, title = report.explanations, "Do the explanations hold?"
    if checks is None:
        return Section("explanations", title, (NOT_MEASURED,))
    on = f"On only {checks.films} films ({checks.of}), so these numbers are rough. " if checks.films else ""
    about = f"{on}Agreement with another library's maps of the same films:"
    shuffled = "Maps before and after weights were shuffled (a low correlation: the map depends on the training):"
    areas = (
        "Area under the score's curve while blocks of the film are removed (low is good) or put back (high is good) "
        "in the map's order, compared with random orders. A method that is no better than these explains nothing here:"
    )
    blocks = (about, _records(checks.agreement), shuffled, _records(checks.sanity), areas, _records(checks.areas))
    return Section("explanations", title, blocks)


def failures(report: ModelReport) -> list[Section]:
    """Return every misclassified film by file name; not in the card, where the list would be too long."""
    return [_failures(name, split) for name, split in report.splits.items() if split.failures]


def _failures(name: str, split: SplitReport) -> Section:
    headers = ("film", "label", "first choice", "verdict", "probability")
    rows = tuple(
        (
            code(film.file),
            *map(words.label, (film.label, film.choice, film.verdict)),
            words.probability(film.probability),
        )
        for film in split.failures
    )
    title = f"{code(name)}: {len(rows)} of {split.metrics.n} films"
    return Section(f"failures-{name}", title, (Table(headers, rows, words=4),), THIRD)


def _ends(rate: Rate) -> tuple[str, str]:
    return words.share_ends(rate), words.count(rate.n)


def _records(rows: Sequence[dict[str, object]]) -> Table:
    """Return JSON objects with the same keys as a table; the first keys have words as values."""
    names = tuple(rows[0]) if rows else ()
    cells = tuple(tuple(_plain(row.get(name)) for name in names) for row in rows)
    leading = sum(isinstance(rows[0][name], str) for name in names) if rows else 0
    return Table(tuple(plain(name.replace("_", " ")) for name in names), cells, words=leading)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return words.NOTHING if value is None else f"{value:.3f}" if isinstance(value, float) else plain(str(value))
