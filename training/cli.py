"""`plainfilm train`, `plainfilm evaluate`, `plainfilm samples`: thin commands.

Modules that train or measure are imported where they are called: TensorFlow is not loaded for a help text or a mistyped
option.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from types import MappingProxyType
from typing import Annotated, Final

import numpy as np
import typer

import shared.samples
from shared.manifest import read_manifest
from training.bars import show_bars
from training.class_layout import ignored_files, ignored_folders
from training.export import ship
from training.recipe import Recipe
from training.recipe_file import named_recipe
from training.recipes import find_recipe
from training.report.command import evaluate
from training.report.facts import PAGE_FILE, read_learning
from training.report.sheets import check_place
from training.runs import can_resume, is_learned, new_id, relocate
from training.samples import make_samples
from training.splits import class_folders, find_examples, find_manifest
from worker.engine import SHIPPED_MODEL

Data = Annotated[Path, typer.Option(envvar="PLAINFILM_DATA", help="folder of labelled films")]
Report = Annotated[bool, typer.Option(help="evaluate the model at the end: report.html, model.json, model card")]
Model = Annotated[Path, typer.Option(help="model folder; the shipped one where not named")]

RUNS: Final = Path("var/runs")
OF_NEW_RUNS: Final = MappingProxyType({"recipe": "--recipe", "settings": "--set", "out": "--out"})
"""Options that exclude --resume."""

__all__ = ["evaluate", "samples", "train"]

train = typer.Typer(add_completion=False)
samples = typer.Typer(add_completion=False)


@train.command("train")
def train_model(  # noqa: PLR0913, PLR0917 - one argument an option
    context: typer.Context,
    recipe: Annotated[str, typer.Option(help="default, seed2020, tiny, or a JSON file of its parameters")] = "default",
    data: Data = Path("../shared/data"),
    out: Annotated[Path | None, typer.Option(help="folder to write; var/runs/<id> by default")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="override a recipe parameter: epochs=3")] = None,
    pretrained: Annotated[Path | None, typer.Option(help="weights to start from, if not in the data folder")] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="resume the run in this folder, with its own recipe; --data names its films if they moved"),
    ] = None,
    report: Report = True,  # noqa: FBT002 - a flag
    ship_it: Annotated[bool, typer.Option("--ship", help="make it the model the worker loads")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Train a model on labelled films, export it, and evaluate the exported model."""
    _check_resume(context, resume)
    now, chosen = datetime.now(UTC), named_recipe(recipe, settings or ())
    folder = resume or out or RUNS / new_id(chosen, now)
    if report:
        check_place(folder)
    from training.report.of_run import report_run  # noqa: PLC0415  TensorFlow loads only where it is needed
    from training.run import resume as go_on  # noqa: PLC0415
    from training.run import run  # noqa: PLC0415

    moved_to = data if _is_named(context, "data") else None
    if resume is not None and (moved_to or pretrained):
        relocate(resume, moved_to, pretrained)
    with _told_how_to_resume(folder), show_bars() as progress:
        if resume is None:
            _report_ignored(chosen, data)
            run(chosen, data, folder, f"{now:%Y-%m-%d}", progress, pretrained)
        elif not _lacks_report_only(folder):
            go_on(folder, progress)
        missing = report_run(folder, progress) if report else []
    if ship_it:
        ship(folder, SHIPPED_MODEL)
    _summarise(folder)
    if report:
        typer.echo(f"  {folder / PAGE_FILE}" + (f"; no model card: it lacks {', '.join(missing)}" if missing else ""))


@contextmanager
def _told_how_to_resume(folder: Path) -> Iterator[None]:
    """Print, where Ctrl-C ends a run, the command that resumes it."""
    try:
        yield
    except KeyboardInterrupt:
        if can_resume(folder):
            typer.echo(f"interrupted; to resume: plainfilm train --resume {quote(str(folder))}", err=True)
        raise


def _check_resume(context: typer.Context, resume: Path | None) -> None:
    """Raise BadParameter for options that a resumed run could not follow."""
    given = [option for name, option in OF_NEW_RUNS.items() if _is_named(context, name)]
    if resume is not None and given:
        raise typer.BadParameter(f"{', '.join(given)}: not together with --resume, which keeps the run's own")


def _is_named(context: typer.Context, option: str) -> bool:
    """Return whether the option stands on the command line."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _lacks_report_only(folder: Path) -> bool:
    """Return whether the run in `folder` was interrupted after its model was finished."""
    return is_learned(folder) and not (folder / PAGE_FILE).is_file()


@samples.command("samples")
def sample_films(
    data: Data = Path("../shared/data"),
    out: Annotated[Path, typer.Option(help="folder to write")] = Path("shared/samples"),
    model: Model = SHIPPED_MODEL,
    per_class: Annotated[int, typer.Option(help="blends of each class")] = 4,
    seed: Annotated[int, typer.Option(help="of every random draw")] = 3,
) -> None:
    """Make sample films: blends of several training films each, so that no person's film is shown."""
    films = [e for e in find_examples(find_recipe("default"), data) if e.split == "train"]
    from training.golden import write_golden  # noqa: PLC0415  TensorFlow loads only where it is needed
    from worker.engine.keras_engine import load_engine  # noqa: PLC0415

    engine = load_engine(model)
    for sample in make_samples(films, engine, out, per_class, np.random.default_rng(seed)):
        typer.echo(f"{sample.name}  {sample.probability:.3f}  tried {sample.tried}")
    if out.resolve() == Path(shared.samples.__file__).parent:
        write_golden(model)


def _report_ignored(recipe: Recipe, data: Path) -> None:
    """Print the splits of the manifest, or the folders beside the class folders, that no film is taken from."""
    if recipe.drawn_films:
        return
    if find_manifest(recipe, data) is None:
        folders = class_folders((*recipe.labels, *recipe.other_labels))
        kind, names = "class of the recipe", ignored_folders(data, folders)
        for line in ignored_files(data, folders):
            typer.echo(f"left alone, {line}", err=True)
    else:
        films = Counter(example.split for example in find_examples(recipe, data))
        unused = sorted(films.keys() - {*recipe.train_splits, *recipe.report_splits})
        known = f"learns from {', '.join(recipe.train_splits)}; measures {', '.join(recipe.report_splits) or 'none'}"
        kind, names = f"split of the recipe ({known})", tuple(f"{split} ({films[split]} films)" for split in unused)
    if names:
        typer.echo(f"ignored, not a {kind}: {', '.join(names)}", err=True)


def _summarise(folder: Path) -> None:
    manifest = read_manifest(folder)
    learning = read_learning(folder, manifest.weights_sha256)
    took = f": learned in {learning.seconds / 60:.1f} min" if learning else ""
    typer.echo(f"{manifest.name} {manifest.version} in {folder}{took}")
    for split, metrics in manifest.metrics.items():
        accuracy = "-" if metrics.accuracy is None else f"{metrics.accuracy.value:.3f}"
        typer.echo(f"  {split}: n {metrics.n}, accuracy {accuracy}, coverage {metrics.coverage.value:.3f}")
    in_each_set = [label for label, limit in manifest.thresholds.set_quantiles.items() if limit >= 1]
    if in_each_set:
        who = "only films that look like it get a verdict" if len(in_each_set) == 1 else "no film gets a verdict"
        names = ", ".join(in_each_set)
        typer.echo(f"  {who}: too few films of {names} are kept for choosing (validation_share)", err=True)
