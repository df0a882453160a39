"""report.html: the report on a model as one file with its styles and charts inside; film pictures lie beside it.

Sentences and tables are those of the card (`sections.py`, `measured.py`); charts are drawn from the answers on the
films. The styles are those of the service's pages, read from `web/static`.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final

import shared
from shared.model_report import ModelReport
from training.evaluate import Answers
from training.report import figures, marks, markup, measured, sections, words
from training.report.card import LITERATURE
from training.report.sections import THIRD, Section
from training.report.sheets import Picture, Sheet
from training.report.split import forced

HERE: Final = Path(__file__).parent
STYLES: Final = Path(shared.__file__).parents[1] / "web" / "static" / "css"
SHEETS: Final = ("base.css", "parts.css", "prose.css")


@dataclass(frozen=True, slots=True)
class Shown:
    """Contents of the page beside the document.

    Attributes:
        answers: split to the model's answers on its films.
        sheets: pictures of films.
    """

    answers: Mapping[str, Answers]
    sheets: Sequence[Sheet]


def draw_page(report: ModelReport, shown: Shown) -> str:
    """Return the page as HTML."""
    return Template(_read("frame.html")).substitute(
        title=html.escape(f"{report.name} {report.version} · report"),
        style="\n".join([*((STYLES / name).read_text("utf-8") for name in SHEETS), _read("report.css")]),
        script=_read("report.js"),
        notice=html.escape(f"{report.notice[0].upper()}{report.notice[1:]}"),
        body="\n".join([_head(report), *_body(report, shown)]),
    )


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _head(report: ModelReport) -> str:
    return (
        '<p class="overline">Report on a model</p>\n'
        f'<h1>{html.escape(report.name)} <span class="version">{html.escape(report.version)}</span></h1>\n'
        f'<p class="lead">{marks.inline(report.intended_use)}</p>\n'
        '<p class="fine">Intervals are of 95 %: by Wilson for shares, of 1,000 bootstrap resamples for the rest, '
        "groups (patients) whole; one of no width means that no film went wrong, not that none would. "
        "n is how many films a number is of.</p>"
    )


def _body(report: ModelReport, shown: Shown) -> list[str]:
    about, *splits = measured.splits(report)
    charts = {measured.split_key(name): _charts(name, answers, report) for name, answers in shown.answers.items()}
    inner = "".join(markup.draw_section(section, charts.get(section.key, "")) for section in splits)
    parts = [
        (sections.limits(report), markup.draw_section(sections.limits(report), kind=' class="limits"')),
        (sections.goals(report), markup.draw_section(sections.goals(report))),
        (about, markup.draw_section(about, inner)),
        *((section, markup.draw_section(section)) for section in _tests(report)),
        *((section, markup.draw_section(section, _films(section, report, shown))) for section in _shown(report)),
        *(
            (section, markup.draw_section(section))
            for section in (sections.films(report), sections.identity(report), LITERATURE)
        ),
    ]
    failures = "".join(markup.draw_fold(section) for section in measured.failures(report))
    meaning = "Films with a wrong first choice, or with another finding and a verdict that is one of the labels."
    last = Section("failures", "Misclassified films", (meaning,) if failures else ("None.",))
    parts.append((last, markup.draw_section(last, failures)))
    return [markup.draw_contents([section for section, _ in parts]), *(text for _, text in parts)]


def _tests(report: ModelReport) -> list[Section]:
    makers = (
        measured.sources,
        sections.verdicts,
        measured.robustness,
        measured.odd,
        measured.controls,
        measured.cross_validation,
        measured.left_out,
        measured.explanations,
    )
    return [make(report) for make in makers]


COURSE: Final = "course"
SALIENCY: Final = "saliency"


def _shown(report: ModelReport) -> list[Section]:
    """Return the sections that hold pictures."""
    drawn = (
        "The two curves are not directly comparable: training is measured on the augmented films that were drawn, with "
        "the recipe's label smoothing in its loss; validation on each film once, unmodified, without smoothing."
    )
    course = Section(COURSE, "Learning curves", (drawn if report.history else "The model's folder has no history.",))
    about = (
        "Each strip: the film; Grad-CAM of the first choice; the gradient of its score, which the 2020 study drew. "
        "Yellow areas influenced the score most. Of wrong films the most confident are shown, of correct a sample. "
        "A map does not show where disease is."
    )
    return [course, Section(SALIENCY, f"What moved the score of {report.name}", (about,))]


def _films(section: Section, report: ModelReport, shown: Shown) -> str:
    if section.key == COURSE:
        return _course(report) if report.history else ""
    return "".join(_sheet(sheet) for sheet in shown.sheets if sheet.right or sheet.wrong)


def _charts(name: str, answers: Answers, report: ModelReport) -> str:
    scores, truth, _ = forced(answers, report.labels)
    if not len(truth):
        return ""
    n = f"{name}, n = {len(truth)}"
    areas = ", ".join(f"{words.label(label)} {area.value:.3f}" for label, area in report.splits[name].roc_auc.items())
    charts = [(figures.reliability(report.splits[name].reliability, name), f"Reliability, {n}")]
    if areas:
        charts += [
            (figures.roc(scores, truth, report.labels, name), f"ROC, each label against the rest, {n}; area: {areas}"),
            (figures.precision_recall(scores, truth, report.labels, name), f"Precision and recall, likewise, {n}"),
        ]
    return _figures(charts)


def _course(report: ModelReport) -> str:
    charts = [
        (figures.course(report.history, name, report.kept_epoch), f"{name} by epoch") for name in ("loss", "accuracy")
    ]
    return _figures([(svg, caption.capitalize()) for svg, caption in charts])


def _figures(charts: Sequence[tuple[str, str]]) -> str:
    return f'<div class="charts">{"".join(_figure(svg, html.escape(caption)) for svg, caption in charts)}</div>'


def _figure(svg: str, caption: str) -> str:
    named = svg.replace("<svg", f'<svg role="img" aria-label="{caption}"', 1)
    return f"<figure>{named}<figcaption>{caption}</figcaption></figure>"


def _sheet(sheet: Sheet) -> str:
    key = f"films-{sheet.split}"
    kinds = (("Right", sheet.right), ("Wrong", sheet.wrong))
    inner = "".join(f"<h4>{kind}</h4>{_strips(pictures)}" for kind, pictures in kinds if pictures)
    return markup.draw_section(Section(key, marks.code(sheet.split), (), THIRD), inner)


def _strips(pictures: Sequence[Picture]) -> str:
    drawn = "".join(
        f'<figure><img src="{html.escape(picture.file)}" loading="lazy" '
        f'alt="Film, Grad-CAM and gradient: {html.escape(picture.caption)}">'
        f"<figcaption>{html.escape(picture.caption)}</figcaption></figure>"
        for picture in pictures
    )
    return f'<div class="strips">{drawn}</div>'
