"""`plainfilm evaluate`: metrics on films of a CSV or of class folders, or with `--report` the report on a model."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final

import typer

from shared.errors import DataProblem, InvalidRequest
from shared.manifest import read_manifest
from shared.model_report import ModelReport
from training.bars import show_bars
from training.class_layout import ignored_files, ignored_folders, read_class_folders
from training.dataset import Example, shorten
from training.equal_films import count_once
from training.evaluate import answer
from training.film_checks import check_once
from training.learned import count_known, read_learned
from training.manifest_csv import MEASURING_COLUMNS, read_manifest_csv
from training.new_folder import check_empty, make_folder
from training.recipe import Recipe
from training.report.extras import Extras, read_extras
from training.report.facts import PAGE_FILE, read_recipe
from training.report.films import check_writable, write_films
from training.report.sheets import check_place, find_checkout
from training.report.split import as_json, report_split
from training.splits import class_folders
from worker.engine import SHIPPED_MODEL

NOMINAL: Final = 0.9
"""Nominal coverage of prediction sets where the model's folder has no recipe that names it."""

EVERYTHING: Final = MappingProxyType({
    "splits": "--splits", "data": "--data", "out": "--out", "crossval": "--crossval", "loso": "--loso",
    "explanations": "--explanations", "is_card_written": "--write-card",
})  # fmt: skip
"""Options that need --report."""
ONE_SPLIT: Final = MappingProxyType({
    "manifest": "--manifest", "split": "--split", "folders": "--folders", "json_only": "--json", "films": "--films",
})  # fmt: skip
"""Options that exclude it."""

evaluate = typer.Typer(add_completion=False)

Csv = Annotated[Path | None, typer.Option(help="CSV with file and label; films relative to its folder")]
Name = Annotated[str | None, typer.Option(help="measure only the rows whose column `split` has this value")]
Folders = Annotated[Path | None, typer.Option(help="instead of a CSV: a folder with one folder a class")]
Films = Annotated[Path | None, typer.Option(help="also write a CSV with one row a film")]
Report = Annotated[bool, typer.Option("--report", help="measure everything: model.json, report.html, MODEL_CARD.md")]
Names = Annotated[str, typer.Option(help="with --report: which splits, comma-separated; the recipe's by default")]
Data = Annotated[Path, typer.Option(envvar="PLAINFILM_DATA", help="with --report: folder of labelled films")]
Out = Annotated[Path | None, typer.Option(help="with --report: new folder to write; one in var/runs by default")]
Folds = Annotated[Path | None, typer.Option(help="with --report: crossval.json of `plainfilm crossval`")]
Pools = Annotated[Path | None, typer.Option(help="with --report: loso.json of the same command (leave one source out)")]
Maps = Annotated[Path | None, typer.Option(help="with --report: what `python -m training.explain_check` wrote")]
Card = Annotated[
    bool, typer.Option("--write-card", help="with --report: write model.json beside the weights, and MODEL_CARD.md")
]


@evaluate.command("evaluate")
def evaluate_model(  # noqa: PLR0913, PLR0917 - one argument an option
    context: typer.Context,
    manifest: Csv = None,
    split: Name = None,
    folders: Folders = None,
    model: Annotated[Path, typer.Option(help="model folder; the shipped one where not named")] = SHIPPED_MODEL,
    json_only: Annotated[bool, typer.Option("--json", help="one JSON object and nothing else")] = False,  # noqa: FBT002 - a flag
    films: Films = None,
    report: Report = False,  # noqa: FBT002 - a flag
    splits: Names = "",
    data: Data = Path("../shared/data"),
    out: Out = None,
    crossval: Folds = None,
    loso: Pools = None,
    explanations: Maps = None,
    is_card_written: Card = False,  # noqa: FBT002 - a flag
) -> None:
    """Evaluate a model on labelled films with the code that serves it: one set, or with --report everything."""
    _check_options(context, report=report)
    if report:
        extras = read_extras(read_manifest(model), read_recipe(model), crossval, loso, explanations)
        for note in extras.notes:
            typer.echo(note, err=True)
        wanted = tuple(name.strip() for name in splits.split(",") if name.strip())
        project = find_checkout()
        place = card_place(project) if is_card_written else None
        _report(model, data, out or new_folder(project, model), wanted, extras, place)
    elif manifest is not None and folders is None:
        _measure(_rows(manifest, split, model), manifest.parent, model, films, json_only=json_only)
    elif folders is not None and manifest is None and split is None:
        _measure(_in_folders(folders, model), folders, model, films, json_only=json_only)
    else:
        raise typer.BadParameter("give one of --manifest (optionally with --split), --folders or --report")


def _check_options(context: typer.Context, *, report: bool) -> None:
    """Raise BadParameter for options that would have no effect beside the others."""
    others = ONE_SPLIT if report else EVERYTHING
    sources = {name: context.get_parameter_source(name) for name in others}
    given = [others[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    if given:
        raise typer.BadParameter(f"{', '.join(given)}: {'not together with' if report else 'only with'} --report")


def _measure(examples: tuple[Example, ...], root: Path, model: Path, films: Path | None, *, json_only: bool) -> None:
    check_once(examples)
    if films is not None:
        check_writable(films)
    from worker.engine.keras_engine import load_engine  # noqa: PLC0415  TensorFlow loads only where it is needed

    engine = load_engine(model)
    examples, copies = count_once(examples)
    for line in shorten(copies):
        typer.echo(line, err=True)
    with show_bars() as progress:
        answers = answer(engine, examples, progress)
    labels = engine.manifest.labels
    _warn_of_used_films(examples, model)
    if films is not None:
        write_films(films, answers, labels, root)
    numbers = as_json(report_split(answers, labels, _nominal(model), root))
    typer.echo(json.dumps(numbers) if json_only else "\n".join(f"{name}: {value}" for name, value in numbers.items()))


def _warn_of_used_films(examples: tuple[Example, ...], model: Path) -> None:
    """Print a warning where the model has used some of the films, so that its numbers are optimistic."""
    learned = read_learned(model)
    known = count_known(examples, learned.known) if learned else 0
    if known:
        typer.echo(f"{known} of these films were used to train or calibrate the model: results are biased", err=True)


def _rows(manifest: Path, split: str | None, model: Path) -> tuple[Example, ...]:
    """Return the films of one split, or of all rows."""
    columns = MEASURING_COLUMNS if split else MEASURING_COLUMNS[:2]
    rows = read_manifest_csv(manifest, columns, _labels(model))
    examples = tuple(e for e in rows if split in {None, e.split})
    if not examples:
        raise DataProblem(
            f"{manifest.name} has no row of split '{split}'." if split else f"{manifest.name} has no row."
        )
    return examples


def _labels(model: Path) -> tuple[str, ...]:
    """Return the labels accepted: the model's, those of other findings in its recipe, and its name for all of these."""
    manifest = read_manifest(model)
    try:
        others = read_recipe(model).other_labels
    except DataProblem:
        others = Recipe(name="unknown").other_labels
    return (*manifest.labels, *others, *filter(None, [manifest.other_label]))


def _in_folders(folders: Path, model: Path) -> tuple[Example, ...]:
    """Return the films of class folders that are named like the model's labels or those of other findings."""
    names = class_folders(_labels(model))
    for name in ignored_folders(folders, names):
        typer.echo(f"ignored, not a class of the model: {name}", err=True)
    for line in ignored_files(folders, names):
        typer.echo(f"left alone, {line}", err=True)
    return read_class_folders(folders, names)


def _nominal(model: Path) -> float:
    try:
        return read_recipe(model).set_coverage
    except DataProblem:
        return NOMINAL


def _report(  # noqa: PLR0913, PLR0917  the command's options
    model: Path, data: Path, out: Path, splits: tuple[str, ...], extras: Extras, card: Path | None
) -> None:
    """Write the report to `out`; where `card` names a folder, also the card there and model.json beside the weights."""
    check_place(out)
    check_empty(out)
    make_folder(out)
    from training.report.build import Wanted, write_card, write_document, write_report  # noqa: PLC0415  TensorFlow loads only where it is needed

    with show_bars() as progress:
        report = write_report(model, data, out, progress, Wanted(splits, extras))
    _print_goals(report, out)
    write_card(report, out)
    if card is not None:
        write_card(report, card)
        write_document(report, model)


def _print_goals(report: ModelReport, out: Path) -> None:
    for goal in report.goals:
        value = "-" if goal.value is None else f"{goal.value:.3f}"
        reached = {True: "reached", False: "not reached", None: "not measured"}[goal.reached]
        typer.echo(f"{goal.measure}: {value} ({goal.goal} {goal.limit:g}), {reached}")
    typer.echo(f"{out / PAGE_FILE}")


def card_place(project: Path | None) -> Path:
    """Return the folder that --write-card writes the card to.

    Raises:
        InvalidRequest: there is no checkout.
    """
    if project is None:
        raise InvalidRequest(
            "--write-card writes into the project's checkout, and this is an installed package; use --out."
        )
    return project


def new_folder(project: Path | None, model: Path) -> Path:
    """Return a new folder for the report in the checkout's var/runs; without a checkout, in the current folder's."""
    return (project or Path()) / "var" / "runs" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{model.resolve().name}"
