"""Sections of what was measured: splits, sources, changes, odd inputs, controls, folds, explanations. Pure."""

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
KNOWN_HOSPITALS = frozenset({"x_nih", "x_kermany_test"})
"""Sources of the external split whose hospital gave training films too, other ones."""


def splits(report: ModelReport) -> list[Section]:
    """How to read the tables, then a section a split."""
    about = (
        "Accuracy, recall, F1, calibration error and ROC are of the forced choice among the labels, on all films that "
        "carry one of them. *Given a verdict* is the share of films whose verdict names a label; the others abstain."
    )
    found = [_split(name, split, report.labels) for name, split in report.splits.items()]
    return [Section("measured", "What was measured", (about,)), *found]


def split_key(name: str) -> str:
    """The key of a split's section."""
    return f"split-{name}"


def _split(name: str, split: SplitReport, labels: Sequence[str]) -> Section:
    told = words.SPLITS.get(name)
    shares = [(about, words.share(rate), *_ends(rate)) for about, rate in words.rates(split)]
    others = [
        (about, f"{found.value:.3f}", f"{found.low:.3f}-{found.high:.3f}", words.count(found.n))
        for about, found in words.estimates(split)
    ]
    blocks: list[Block] = [f"{split.metrics.n} films of {split.groups} groups{f': {told}' if told else ''}."]
    blocks += [_by_label(split.by_label)] if split.by_label else []
    blocks.append(Table(("share of films", "value", *RATE), tuple(shares)))
    blocks += [Table(("measure", "value", *RATE), tuple(others))] if others else []
    if name == EXTERNAL and (others_only := _newcomers(split)):
        blocks.append(others_only)
    if split.metrics.confusion:
        blocks.append(_confusion(labels, split.metrics.confusion))
    return Section(split_key(name), code(name), tuple(blocks), THIRD)


def _newcomers(split: SplitReport) -> str:
    """What the forced choice gets right of the sources that share no hospital with the training films."""
    rows = [(row, row.recall) for row in split.sources if row.recall is not None]
    if not any(row.source in KNOWN_HOSPITALS for row, _ in rows):
        return ""
    right, films = Counter[str](), Counter[str]()
    for row, recall in rows:
        if row.source not in KNOWN_HOSPITALS:
            right[row.label] += round(recall.value * recall.n)
            films[row.label] += recall.n
    known = sum(recall.n for row, recall in rows if row.source in KNOWN_HOSPITALS)
    found = ", ".join(f"{right[label]} of {films[label]} {words.label(label)}" for label in films)
    return (
        f"**{known} of the {known + films.total()} films with a label are of hospitals that training films are of "
        f"too** ({', '.join(sorted(KNOWN_HOSPITALS))}). Of the other sources' the first choice is right for {found}."
    )


def _by_label(found: Mapping[str, LabelScores]) -> Table:
    rows = tuple(
        (
            words.label(name),
            words.count(own.recall.n),
            words.share_with_ends(own.precision),
            words.share_with_ends(own.recall),
            words.number(own.f1),
        )
        for name, own in found.items()
    )
    return Table(("label, forced choice", "n", "precision", "recall", "F1"), rows)


def _confusion(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Table:
    rows = tuple((words.label(label), *map(str, row)) for label, row in zip(labels, counts, strict=True))
    return Table(("label, by first choice", *map(words.label, labels)), rows, is_shaded=True)


def sources(report: ModelReport) -> Section:
    """Every split by source and label."""
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
    legend = tuple(f"`{code}`: {told}." for code, told in words.SOURCES.items() if code in named)
    return Section("sources", "By source", (Table(headers, rows, words=3), *((Bullets(legend),) if legend else ())))


def robustness(report: ModelReport) -> Section:
    """Verdict flips."""
    found, title = report.robustness, "Harmless changes"
    if found is None:
        return Section("robustness", title, (NOT_MEASURED,))
    rows = [(change.name, words.share(change.flips), *_ends(change.flips)) for change in found.changes]
    rows.append(("any of them, over all changed films", words.share(found.any_change), *_ends(found.any_change)))
    about = f"How often the verdict on a film of {code(found.split)} is another after a change that should not matter:"
    return Section("robustness", title, (about, Table(("change", "verdict flips", *RATE), tuple(rows))))


def odd(report: ModelReport) -> Section:
    """Inputs that are no frontal chest films."""
    found, title = report.odd_inputs, "Inputs that are no frontal chest films"
    if found is None:
        return Section("odd", title, (NOT_MEASURED,))
    told = f"Given a verdict that names a label: {words.share_with_ends(found.answered)}, n = {found.answered.n}."
    files = tuple(code(name) for name in found.answered_files)
    return Section("odd", title, (told, *((Bullets(files),) if files else ())))


def controls(report: ModelReport) -> Section:
    """Classifiers that lack what should matter."""
    title = "Controls: classifiers that lack what should matter"
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
            Bullets(near) if near else "No control comes near the model.",
        ),
    )


def _control(control: Control) -> tuple[str, ...]:
    names = (code(control.split), words.CONTROLS[control.name], "yes" if control.is_near else "no")
    own = control.balanced_accuracy
    return (*names, words.number(own), f"{control.model_balanced_accuracy:.3f}", words.count(own.n))


def cross_validation(report: ModelReport) -> Section:
    """Folds by group."""
    found, title = report.cross_validation, "Cross-validation"
    if found is None:
        return Section("folds", title, (NOT_MEASURED,))
    about = (
        f"Recipe {code(found.recipe)}, {plain(found.films)}; {len(found.folds)} folds, no group in two of them: each "
        "film is judged once, by a network that saw none of its group."
    )
    rows = [
        (str(fold.fold), words.share(fold.accuracy), *_ends(fold.accuracy), words.number(fold.macro_f1))
        for fold in found.folds
    ]
    rows.append(("all", words.share(found.accuracy), *_ends(found.accuracy), words.number(found.macro_f1)))
    folds = Table(("fold", "accuracy", *RATE, "macro F1"), tuple(rows))
    return Section(
        "folds", title, (about, folds, _by_label(found.by_label), _confusion(report.labels, found.confusion))
    )


def left_out(report: ModelReport) -> Section:
    """Sources judged by networks that never saw them."""
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
    about = f"Films of a source, judged by a network trained without it, by the recipe {plain(recipe)}:"
    return Section("left-out", title, (about, table))


def explanations(report: ModelReport) -> Section:
    """Whether the maps hold."""
    found, title = report.explanations, "Do the explanations hold?"
    if found is None:
        return Section("explanations", title, (NOT_MEASURED,))
    on = f"On {found.films} films ({found.of}), so few that these numbers are rough. " if found.films else ""
    about = f"{on}Agreement with another library's maps of the same films:"
    shuffled = "Maps before and after weights were shuffled (a low correlation: the map shows what was learned):"
    areas = (
        "Area under the score while blocks of the film are taken away (low is good) or put back (high is good) in the "
        "map's order, beside random orders. A method that is no better than these explains nothing on such films:"
    )
    blocks = (about, _records(found.agreement), shuffled, _records(found.sanity), areas, _records(found.areas))
    return Section("explanations", title, blocks)


def failures(report: ModelReport) -> list[Section]:
    """Every film that goes wrong, by file name; not in the card, where it would be too long."""
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
    """JSON objects of one form as a table; words before numbers as they come."""
    names = tuple(rows[0]) if rows else ()
    cells = tuple(tuple(_plain(row.get(name)) for name in names) for row in rows)
    leading = sum(isinstance(rows[0][name], str) for name in names) if rows else 0
    return Table(tuple(plain(name.replace("_", " ")) for name in names), cells, words=leading)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return words.NOTHING if value is None else f"{value:.3f}" if isinstance(value, float) else plain(str(value))
