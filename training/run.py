"""One whole run: data, learning, export, measurement through the serving engine, figures; `plainfilm train` calls it.

The splits of `report_splits` are looked at once, after the model is exported: nothing is chosen by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.manifest import ModelManifest, SplitMetrics
from training.dataset import Example
from training.evaluate import ask, measure
from training.export import add_metrics, export
from training.features import Progress
from training.figures import draw_confusion, draw_curves
from training.fit import fit
from training.imagenet import read_pretrained
from training.recipe import Recipe
from training.splits import find_examples, prepare
from training.synth import write_films
from worker.engine.base import Engine
from worker.engine.keras_engine import load_engine

VALIDATION: Final = "validation"


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a run: the manifest as written, and how long the learning took."""

    manifest: ModelManifest
    seconds: float


def run(recipe: Recipe, data: Path, out: Path, trained_at: str, progress: Progress) -> Run:
    """Learn, export to `out`, measure what was exported, draw.

    Args:
        data: the data folder; for a recipe with drawn films they are drawn into `out`.
        trained_at: ISO 8601 date in UTC.

    Raises:
        DataProblem: the films cannot be trained on; found before training starts.
    """
    if recipe.drawn_films:
        data = out / "films"
        write_films(data, {"train": recipe.drawn_films, "test": recipe.drawn_films // 2}, recipe.seed)
    films = prepare(recipe, data)
    pretrained = read_pretrained(data / recipe.pretrained, recipe.pretrained_sha256) if recipe.pretrained else None
    result = fit(recipe, films, pretrained, progress=progress)
    manifest = export(result, out, trained_at.replace("-", "."), trained_at)
    parts = {VALIDATION: films.validation} | _reported(recipe, find_examples(recipe, data))
    metrics = measure_splits(load_engine(out), parts, progress)
    draw_curves(result.history, result.kept_epoch, out / "curves.png")
    for split, measured in metrics.items():
        if measured.confusion:
            draw_confusion(measured.confusion, recipe.labels, split, out / f"confusion_{split}.png")
    return Run(add_metrics(out, manifest, metrics), result.seconds)


def measure_splits(
    engine: Engine, parts: dict[str, tuple[Example, ...]], progress: Progress
) -> dict[str, SplitMetrics]:
    """The metrics of each named set of films."""
    return {split: measure(ask(engine, films, progress), engine.manifest.labels) for split, films in parts.items()}


def _reported(recipe: Recipe, examples: Sequence[Example]) -> dict[str, tuple[Example, ...]]:
    parts = {split: tuple(e for e in examples if e.split == split) for split in recipe.report_splits}
    return {split: films for split, films in parts.items() if films}
