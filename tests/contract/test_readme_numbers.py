"""The README's table of numbers is the shipped manifest's."""

from __future__ import annotations

from pathlib import Path

from shared.manifest import Rate, SplitMetrics, read_manifest
from worker.boot import SHIPPED_MODEL

ROOT = Path(__file__).resolve().parent.parent.parent


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
        str(split.n),
        interval(split.accuracy),
        share(split.balanced_accuracy, ".3f"),
        share(split.macro_f1, ".3f"),
        share(split.ece15, ".3f"),
        interval(split.coverage),
    ]
    return f"| {' | '.join(cells)} |"


def test_every_split_stands_in_the_readme_as_it_was_measured() -> None:
    """Each row of the table is computed from the manifest beside the weights."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    expected = [row(name, split) for name, split in read_manifest(SHIPPED_MODEL).metrics.items()]
    found = [line for line in readme if line.startswith("| `") and line.count("|") == 8]
    assert found == expected
