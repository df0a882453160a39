"""Charts: learning curves, confusion, reliability, ROC and precision-recall. No metric is computed here.

`as_svg` turns a chart into SVG whose colours are the page's CSS variables, so that it fits the light and the dark page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from shared.arrays import FloatArray
from shared.model_report import Bin, Epoch
from training.metrics import Integers
from training.report import words

DPI: Final = 120
SIZE: Final = (4.4, 3.6)
"""Size of one chart in inches: about the width of a phone, so that its text stays readable there."""

INK: Final = "#00a001"
SOFT: Final = "#00a002"
LINE: Final = "#00a003"
SERIES: Final = ("#00a011", "#00a012", "#00a013", "#00a014")
VARIABLES: Final = MappingProxyType(
    {
        INK: "var(--ink)",
        SOFT: "var(--ink-soft)",
        LINE: "var(--line)",
        SERIES[0]: "var(--covid19)",
        SERIES[1]: "var(--normal)",
        SERIES[2]: "var(--viral_pneumonia)",
        SERIES[3]: "var(--accent)",
    }
)
"""Placeholder colours to the CSS variables that replace them in the SVG."""

STYLE: Final = MappingProxyType(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "plainfilm",
        "font.size": 11.0,
        "axes.edgecolor": LINE,
        "axes.labelcolor": SOFT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "grid.color": LINE,
        "grid.linewidth": 0.7,
        "axes.grid": True,
        "text.color": INK,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "legend.frameon": False,
        "lines.linewidth": 2.0,
    }
)
DASHES: Final = ("-", "--", "-.", ":")
"""Line styles, so that lines can be told apart without colour."""


def draw_curves(history: Sequence[Epoch], kept_epoch: int, path: Path) -> None:
    """Write loss and accuracy by epoch, training and validation, as PNG; a line marks the epoch that was kept."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, measure in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        _plot_course(axes, history, measure, ("C0", "C1"))
        axes.axvline(kept_epoch, color="grey", linestyle=":", label="kept")
        axes.legend()
    figure.savefig(path, dpi=DPI)


def draw_confusion(confusion: Sequence[Sequence[int]], labels: Sequence[str], title: str, path: Path) -> None:
    """Write counts by true label (row) and chosen label (column), as PNG; colour is the share of the row."""
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.subplots()
    shares = [[count / max(sum(row), 1) for count in row] for row in confusion]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for y, row in enumerate(confusion):
        for x, count in enumerate(row):
            axes.text(x, y, str(count), ha="center", va="center", color="white" if shares[y][x] > 0.5 else "black")  # noqa: PLR2004 - readable on either half of the colour scale
    axes.set_xticks(range(len(labels)), labels, rotation=20)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("chosen")
    axes.set_ylabel("label")
    axes.set_title(title)
    figure.savefig(path, dpi=DPI)


def course(history: Sequence[Epoch], measure: str, kept_epoch: int | None) -> str:
    """Return an SVG of 'loss' or 'accuracy' by epoch, training and validation."""
    with mpl.rc_context(dict(STYLE)):
        figure, axes = _new_chart()
        _plot_course(axes, history, measure, (SERIES[3], SERIES[0]))
        if kept_epoch is not None:
            axes.axvline(kept_epoch, color=SOFT, linestyle=":", linewidth=1.2, label="kept")
        _add_legend(axes)
        return as_svg(figure, f"course-{measure}")


def reliability(bins: Sequence[Bin], name: str) -> str:
    """Return an SVG of accuracy over the top probability, with intervals; dots grow with the number of films."""
    with mpl.rc_context(dict(STYLE)):
        figure, axes = _new_chart()
        axes.plot([0, 1], [0, 1], color=SOFT, linestyle=":", linewidth=1.2, label="perfectly calibrated")
        x, y = [each.probability for each in bins], [each.accuracy.value for each in bins]
        films = sum(each.accuracy.n for each in bins)
        areas = [15 + 185 * each.accuracy.n / films for each in bins]
        axes.plot(x, y, color=SERIES[3], linewidth=1.2, label="this model")
        lows, highs = [each.accuracy.low for each in bins], [each.accuracy.high for each in bins]
        axes.vlines(x, lows, highs, SERIES[3], linewidth=1)
        axes.scatter(x, y, s=areas, color=SERIES[3], alpha=0.6, clip_on=False)
        _name_shares(axes, "probability of the first label", "share that is right")
        return as_svg(figure, f"reliability-{name}")


def roc(scores: FloatArray, truth: Integers, labels: Sequence[str], name: str) -> str:
    """Return an SVG of the ROC curve of each label against the rest: sensitivity over one minus specificity."""
    with mpl.rc_context(dict(STYLE)):
        figure, axes = _new_chart()
        axes.plot([0, 1], [0, 1], color=SOFT, linestyle=":", linewidth=1.2)
        for index, label in _present(truth, labels):
            x, y, _ = roc_curve(truth == index, scores[:, index])
            _plot_label(axes, x, y, index, label)
        _name_shares(axes, "share of other films called it", "share of its films called it")
        return as_svg(figure, f"roc-{name}")


def precision_recall(scores: FloatArray, truth: Integers, labels: Sequence[str], name: str) -> str:
    """Return an SVG of precision over recall, of each label against the rest."""
    with mpl.rc_context(dict(STYLE)):
        figure, axes = _new_chart()
        for index, label in _present(truth, labels):
            precision, recall, _ = precision_recall_curve(truth == index, scores[:, index])
            _plot_label(axes, recall, precision, index, label)
        _name_shares(axes, "recall", "precision")
        return as_svg(figure, f"precision-recall-{name}")


def as_svg(figure: Figure, name: str) -> str:
    """Return the figure as an `<svg>` element; every id in it begins with `name`, its colours are CSS variables."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    prefix = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return text


def _new_chart() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    return figure, figure.subplots()


def _plot_course(axes: Axes, history: Sequence[Epoch], measure: str, colours: tuple[str, str]) -> None:
    epochs = [epoch.epoch for epoch in history]
    for part, colour, dash in zip(("train", "validation"), colours, DASHES[:2], strict=True):
        values = [getattr(epoch, f"{part}_{measure}") for epoch in history]
        axes.plot(epochs, values, label=part, color=colour, linestyle=dash)
    axes.set_xlabel("epoch")
    axes.set_ylabel(measure)


def _present(truth: Integers, labels: Sequence[str]) -> list[tuple[int, str]]:
    """Return the labels that some of the films have, and not all, with their indices."""
    return [(i, label) for i, label in enumerate(labels) if (truth == i).any() and (truth != i).any()]


def _plot_label(axes: Axes, x: FloatArray, y: FloatArray, index: int, label: str) -> None:
    place = index % len(SERIES)
    axes.plot(np.asarray(x), np.asarray(y), color=SERIES[place], linestyle=DASHES[place], label=words.label(label))


def _name_shares(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    _add_legend(axes)


def _add_legend(axes: Axes) -> None:
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.2, handlelength=1.8)
