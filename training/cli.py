"""`plainfilm train`, `plainfilm evaluate`, `plainfilm samples`: thin doors to the workshop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TaskID

import worker.engine
from shared.errors import DataProblem
from shared.manifest import ModelManifest
from training.dataset import MEASURING_COLUMNS, read_manifest_csv
from training.evaluate import as_numbers, ask, measure
from training.export import ship
from training.features import Progress
from training.recipe import Recipe, recipe_from_json
from training.recipes import find_recipe
from training.run import run
from training.samples import make_samples
from training.splits import find_examples
from worker.engine.keras_engine import load_engine

SHIPPED: Final = Path(worker.engine.__file__).parents[1] / "models" / "default"

Data = Annotated[Path, typer.Option(envvar="PLAINFILM_DATA", help="folder of labelled films")]
Model = Annotated[Path, typer.Option(help="model folder; the shipped one where not named")]

train = typer.Typer(add_completion=False)
evaluate = typer.Typer(add_completion=False)
samples = typer.Typer(add_completion=False)


@train.command("train")
def train_model(
    recipe: Annotated[str, typer.Option(help="default, seed2020, tiny, or a JSON file of the knobs")] = "default",
    data: Data = Path("../shared/data"),
    out: Annotated[Path | None, typer.Option(help="folder to write; var/models/<recipe> where not named")] = None,
    ship_it: Annotated[bool, typer.Option("--ship", help="make it the model the worker loads")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Learn a model from labelled films, export it, and measure what was exported."""
    chosen = _recipe(recipe)
    folder = out or Path("var/models") / chosen.name
    with _bars() as progress:
        done = run(chosen, data, folder, f"{datetime.now(UTC):%Y-%m-%d}", progress)
    if ship_it:
        ship(folder, SHIPPED)
    _summarise(done.manifest, done.seconds, folder)


@evaluate.command("evaluate")
def evaluate_model(
    manifest: Annotated[Path, typer.Option(help="CSV with file, label, split; films relative to its folder")],
    split: Annotated[str, typer.Option(help="which rows to measure")],
    model: Model = SHIPPED,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object and nothing else")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Measure a model on one split of a labelled manifest, through the code that serves."""
    films = tuple(e for e in read_manifest_csv(manifest, MEASURING_COLUMNS) if e.split == split)
    if not films:
        raise DataProblem(f"{manifest.name} has no row of split '{split}'.")
    engine = load_engine(model)
    with _bars() as progress:
        measured = measure(ask(engine, films, progress), engine.manifest.labels)
    numbers = as_numbers(measured)
    typer.echo(json.dumps(numbers) if as_json else "\n".join(f"{name}: {value}" for name, value in numbers.items()))


@samples.command("samples")
def sample_films(
    data: Data = Path("../shared/data"),
    out: Annotated[Path, typer.Option(help="folder to write")] = Path("shared/samples"),
    model: Model = SHIPPED,
    per_class: Annotated[int, typer.Option(help="blends of each class")] = 4,
    seed: Annotated[int, typer.Option(help="of every random draw")] = 3,
) -> None:
    """Make sample films: blends of several training films each, so that no person's film is shown."""
    engine = load_engine(model)
    films = [e for e in find_examples(find_recipe("default"), data) if e.split == "train"]
    for sample in make_samples(films, engine, out, per_class, np.random.default_rng(seed)):
        typer.echo(f"{sample.name}  {sample.probability:.3f}  tried {sample.tried}")


def _recipe(name: str) -> Recipe:
    path = Path(name)
    return recipe_from_json(path.read_text(encoding="utf-8")) if path.suffix == ".json" else find_recipe(name)


def _summarise(manifest: ModelManifest, seconds: float, folder: Path) -> None:
    typer.echo(f"{manifest.name} {manifest.version} in {folder}: learned in {seconds / 60:.1f} min")
    for split, metrics in manifest.metrics.items():
        accuracy = "-" if metrics.accuracy is None else f"{metrics.accuracy.value:.3f}"
        typer.echo(f"  {split}: n {metrics.n}, accuracy {accuracy}, coverage {metrics.coverage.value:.3f}")


@contextmanager
def _bars() -> Iterator[Progress]:
    """One progress bar a stage, on the error stream, so that the output stays clean."""
    tasks: dict[str, TaskID] = {}
    with Bars(console=Console(stderr=True)) as bars:

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show
