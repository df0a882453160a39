"""Renders MODEL_CARD.md from the report on a model and from nothing else; it adds text, but no numbers.

Its form follows Mitchell et al. 2019 (arXiv 1810.03993). A report that lacks a required part is refused.
"""

from __future__ import annotations

from typing import Final

from shared.errors import DataProblem
from shared.model_report import ModelReport, SplitReport
from training.report import measured, sections
from training.report.sections import Block, Bullets, Section, Table

CARD_FILE: Final = "MODEL_CARD.md"
EXTERNAL: Final = "external"

INTERVALS: Final = ("balanced_accuracy", "macro_f1", "ece15")
"""Estimates that every split with films of the labels must have."""

WRITTEN_BY: Final = (
    "Written by `plainfilm evaluate --report` from `model.json`, which holds every number below but those of the last "
    "section; never by hand. Intervals are of 95 %: Wilson's for shares, of 1,000 seeded bootstrap resamples for the "
    "rest; both know which films are of one group (a patient). One of no width means that no film went wrong, not that "
    "none would. `n` is how many films a number is of."
)
LITERATURE: Final = Section(
    "literature",
    "Literature beside it",
    (
        "What others report, on their own films and splits. It cannot be compared number by number.",
        Table(
            ("work", "reported", "on"),
            (
                ("DarkCovidNet (Ozturk et al. 2020, PMC7187882)", "accuracy 87.02 %", "three classes"),
                ("COVID-Net CXR4-A (Wang et al., arXiv 2003.09871)", "accuracy 94.3 %", "three classes"),
                ("Arias-Londono et al. 2020", "accuracy 91.5 %", "three classes, lungs segmented first"),
            ),
            words=3,
        ),
        Bullets(
            (
                "Roberts et al. 2021 reviewed 62 such models and found none fit for clinical use.",
                "DeGrave et al. 2021 showed that such networks take shortcuts: they read how a film was made.",
                "Maguolo and Nanni 2021 blacked the lungs out and still told data sets apart; see the controls.",
            )
        ),
    ),
)


def render(report: ModelReport) -> str:
    """Return the card as Markdown, with one trailing newline.

    Raises:
        DataProblem: the report lacks the external split, the split method, intervals or the intended use.
    """
    missing = find_missing(report)
    if missing:
        raise DataProblem(f"The model card is not written: the report lacks {', '.join(missing)}.")
    head = (
        f"# Model card: {report.name} {report.version}",
        f"> **{report.notice[0].upper()}{report.notice[1:]}.**",
        WRITTEN_BY,
    )
    return "\n\n".join([*head, *(_section(section) for section in list_sections(report))]) + "\n"


def list_sections(report: ModelReport) -> list[Section]:
    """Return the sections of the card, in order."""
    return [
        sections.use(report),
        sections.identity(report),
        sections.films(report),
        sections.goals(report),
        *measured.splits(report),
        measured.sources(report),
        sections.verdicts(report),
        measured.robustness(report),
        measured.odd(report),
        measured.controls(report),
        measured.cross_validation(report),
        measured.left_out(report),
        measured.explanations(report),
        sections.limits(report),
        LITERATURE,
    ]


def find_missing(report: ModelReport) -> list[str]:
    """Return, in words, the parts that a card must have and this report lacks."""
    required = {
        "the external split": EXTERNAL in report.splits,
        "the split method": bool(report.split_method.strip()),
        "the intended use": bool(report.intended_use.strip()),
    }
    incomplete = [f"intervals of {name}" for name, split in report.splits.items() if not _has_intervals(split)]
    return [name for name, is_there in required.items() if not is_there] + incomplete


def _has_intervals(split: SplitReport) -> bool:
    """Return whether every measure that is not a share of films has its interval; a share always has one."""
    return split.metrics.accuracy is None or set(INTERVALS) <= split.estimates.keys()


def _section(section: Section) -> str:
    return "\n\n".join((f"{'#' * section.level} {section.title}", *(_block(block) for block in section.blocks)))


def _block(block: Block) -> str:
    if isinstance(block, Table):
        is_number = [place >= block.words and head != "note" for place, head in enumerate(block.headers)]
        rule = tuple("--:" if right else "---" for right in is_number)
        return "\n".join(f"| {' | '.join(row)} |" for row in (block.headers, rule, *block.rows))
    return "\n".join(f"* {item}" for item in block.items) if isinstance(block, Bullets) else block
