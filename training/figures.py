"""Pictures of a run for people: learning curves and a confusion matrix, as PNG. No numbers are made here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from training.fit import Epoch

DPI: Final = 120


def draw_curves(history: Sequence[Epoch], kept_epoch: int, path: Path) -> None:
    """Loss and accuracy by epoch, training and validation; a line marks the epoch that was kept."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    epochs = [epoch.epoch for epoch in history]
    for axes, measure in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for part in ("train", "validation"):
            axes.plot(epochs, [getattr(epoch, f"{part}_{measure}") for epoch in history], label=part)
        axes.axvline(kept_epoch, color="grey", linestyle=":", label="kept")
        axes.set_xlabel("epoch")
        axes.set_ylabel(measure)
        axes.legend()
    figure.savefig(path, dpi=DPI)


def draw_confusion(confusion: Sequence[Sequence[int]], labels: Sequence[str], title: str, path: Path) -> None:
    """Counts by true label (row) and chosen label (column); colour is the share of the row."""
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
