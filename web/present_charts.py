"""Charts of the model page, as numbers to draw: how far probabilities can be trusted, and the course of learning.

Places are in a square of `SIDE` units from its upper left corner; the template adds frame, ticks and words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from shared.model_report import Bin, Epoch, ModelReport

SIDE: Final = 200
LEAST_RADIUS, MOST_RADIUS = 2.0, 9.0
"""Of a dot, in units; its area grows with its films."""

MEASURES: Final[Mapping[str, str]] = MappingProxyType({"loss": "Loss", "accuracy": "Accuracy"})


@dataclass(frozen=True, slots=True)
class Dot:
    """A bin: where it lies, its size, and the ends of its interval."""

    x: float
    y: float
    radius: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Course:
    """One measure by epoch.

    Attributes:
        name: in words.
        training, validation: the points of two lines, as SVG has them.
        ticks: height and number of the least and the most.
        epochs: how many; `kept_x` is where the kept one lies, None where it is not known.
        words: the chart in a sentence.
    """

    name: str
    training: str
    validation: str
    ticks: tuple[tuple[float, str], tuple[float, str]]
    epochs: int
    kept_x: float | None
    words: str


def draw_reliability(bins: Sequence[Bin]) -> list[Dot]:
    """Share that is right over mean probability, one dot a bin."""
    most = max((own.accuracy.n for own in bins), default=1) or 1
    return [
        Dot(
            x=SIDE * own.probability,
            y=_height(own.accuracy.value),
            radius=LEAST_RADIUS + (MOST_RADIUS - LEAST_RADIUS) * math.sqrt(own.accuracy.n / most),
            low=_height(own.accuracy.low),
            high=_height(own.accuracy.high),
        )
        for own in bins
    ]


def draw_courses(report: ModelReport) -> list[Course]:
    """Loss and accuracy; none where fewer than two epochs are known."""
    if len(report.history) < 2:  # noqa: PLR2004  a line has two ends
        return []
    return [_course(report.history, report.kept_epoch, measure) for measure in MEASURES]


def _course(history: Sequence[Epoch], kept_epoch: int | None, measure: str) -> Course:
    lines = {part: [float(getattr(own, f"{part}_{measure}")) for own in history] for part in ("train", "validation")}
    values = [value for line in lines.values() for value in line]
    least, most = min(values), max(values)
    spread = (most - least) or 1.0

    def place(number: int) -> float:
        return SIDE * number / (len(history) - 1)

    def points(line: Sequence[float]) -> str:
        return " ".join(f"{place(at):.1f},{_height((value - least) / spread):.1f}" for at, value in enumerate(line))

    kept = next((at for at, own in enumerate(history) if own.epoch == kept_epoch), None)
    return Course(
        name=MEASURES[measure],
        training=points(lines["train"]),
        validation=points(lines["validation"]),
        ticks=((_height(0.0), f"{least:.2f}"), (_height(1.0), f"{most:.2f}")),
        epochs=len(history),
        kept_x=None if kept is None else place(kept),
        words=_tell(measure, lines, kept),
    )


def _tell(measure: str, lines: Mapping[str, Sequence[float]], kept: int | None) -> str:
    train, validation = lines["train"], lines["validation"]
    words = (
        f"{MEASURES[measure]} over {len(train)} epochs: training from {train[0]:.2f} to {train[-1]:.2f}, "
        f"validation from {validation[0]:.2f} to {validation[-1]:.2f}"
    )
    return words if kept is None else f"{words}, {validation[kept]:.2f} at epoch {kept + 1}, which was kept"


def _height(share: float) -> float:
    return SIDE * (1 - share)


FILTERS: Final[Mapping[str, Callable[..., object]]] = MappingProxyType(
    {"draw_reliability": draw_reliability, "draw_courses": draw_courses}
)
