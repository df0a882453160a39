"""The numbers in README.md and MODEL_CARD.md are those of the shipped model: of its report, where it has one."""

from __future__ import annotations

from pathlib import Path

from shared.manifest import Rate, SplitMetrics, read_manifest
from shared.model_report import ModelReport, read_report
from training.report.card import CARD_FILE, render
from worker.serving import SHIPPED_MODEL

ROOT = Path(__file__).resolve().parent.parent.parent


def shipped_report() -> ModelReport | None:
    """The report beside the shipped weights, which it must be of; None where none is shipped yet."""
    return read_report(SHIPPED_MODEL, read_manifest(SHIPPED_MODEL).weights_sha256)


def interval(rate: Rate | None) -> str:
    """'96.1 % (94.4-97.3)', or a dash."""
    return f"{100 * rate.value:.1f} % ({100 * rate.low:.1f}-{100 * rate.high:.1f})" if rate else "-"


def share(value: float | None, form: str) -> str:
    """A number or a dash."""
    return "-" if value is None else format(value, form)


def row(name: str, split: SplitMetrics) -> str:
    """One line of the table."""
    cells = [
        f"`{name}`",
        f"{split.n}, {split.accuracy.n if split.accuracy else 0}",
        interval(split.accuracy),
        share(split.balanced_accuracy, ".3f"),
        share(split.macro_f1, ".3f"),
        share(split.ece15, ".3f"),
        interval(split.coverage),
    ]
    return f"| {' | '.join(cells)} |"


def test_every_split_stands_in_the_readme_as_it_was_measured() -> None:
    """Each row of the table is computed from the report beside the weights; without one from the manifest."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    report = shipped_report()
    manifest = read_manifest(SHIPPED_MODEL).metrics
    reported = {name: split.metrics for name, split in report.splits.items()} if report else {}
    validation = {name: split for name, split in manifest.items() if name not in reported}
    expected = [row(name, split) for name, split in (validation | reported).items()]
    found = [line for line in readme if line.startswith("| `") and line.count("|") == 8]
    assert found == expected


def test_the_model_card_is_the_shipped_report() -> None:
    """MODEL_CARD.md is what model.json renders to; where no report is shipped there is no card."""
    report = shipped_report()
    card = ROOT / CARD_FILE
    assert (card.read_text(encoding="utf-8") if card.exists() else None) == (render(report) if report else None)


def test_manifest_and_report_do_not_contradict_each_other() -> None:
    """A split that both hold was chosen alike, film by film: both ask the same films through the same code."""
    report, manifest = shipped_report(), read_manifest(SHIPPED_MODEL).metrics
    reported = {name: split.metrics for name, split in report.splits.items()} if report else {}
    for name in reported.keys() & manifest.keys():
        assert reported[name].confusion == manifest[name].confusion
        assert reported[name].coverage == manifest[name].coverage
