"""`plainfilm crossval`: a thin command over `crossval.py`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shared.model_report import CrossValidation, LeftOut
from training.bars import show_bars
from training.recipe_file import named_recipe

crossval = typer.Typer(add_completion=False)


class Part(StrEnum):
    """One of the two parts of a cross-validation."""

    FOLDS = "folds"
    SOURCES = "sources"


@crossval.command("crossval")
def cross_validate_recipe(  # noqa: PLR0913, PLR0917 - one argument an option
    recipe: Annotated[str, typer.Option(help="default, seed2020, tiny, or a JSON file of the knobs")] = "default",
    data: Annotated[Path, typer.Option(envvar="PLAINFILM_DATA", help="folder of labelled films")] = Path(
        "../shared/data"
    ),
    out: Annotated[Path | None, typer.Option(help="folder to write; var/runs/crossval-<recipe> by default")] = None,
    pretrained: Annotated[Path | None, typer.Option(help="weights to start from, if not in the data folder")] = None,
    only: Annotated[Part | None, typer.Option(help="folds or sources; both by default")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="instead of the recipe's")] = None,
    copies: Annotated[
        int | None, typer.Option(min=0, help="augmented copies of each film, instead of the recipe's number")
    ] = None,
) -> None:
    """Cross-validate by group, and with each source left out in turn; run it again to resume."""
    asked = named_recipe(recipe).starting_from(pretrained)
    from training.report.crossval import cross_validate, find_data, leave_sources_out, shorten  # noqa: PLC0415  TensorFlow loads only where it is needed

    used = shorten(asked, epochs, copies)
    folder = out or Path("var/runs") / f"crossval-{asked.name}"
    folder.mkdir(parents=True, exist_ok=True)
    films = find_data(used, data, folder)
    with show_bars() as progress:
        folds = cross_validate(asked, used, films, folder, progress) if only in (None, Part.FOLDS) else None
        sources = leave_sources_out(asked, used, films, folder, progress) if only in (None, Part.SOURCES) else []
    _print_results(folds, sources, folder)


def _print_results(folds: CrossValidation | None, sources: list[LeftOut], folder: Path) -> None:
    if folds is not None:
        rate, f1 = folds.accuracy, folds.macro_f1
        typer.echo(f"{folds.recipe}: {folds.films}")
        typer.echo(f"  accuracy {rate.value:.3f} [{rate.low:.3f}, {rate.high:.3f}], n {rate.n}")
        typer.echo(f"  macro F1 {f1.value:.3f} [{f1.low:.3f}, {f1.high:.3f}]")
    for row in sources:
        recall = "-" if row.recall is None else f"{row.recall.value:.3f}"
        typer.echo(f"  without {row.pool}: {row.label} recall {recall}, coverage {row.coverage.value:.3f}")
    typer.echo(f"in {folder}")
