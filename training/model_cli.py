"""`plainfilm model`: verify, export, quantize, recalibrate, record golden films, compare engines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shared import samples
from shared.errors import InvalidRequest
from training.class_layout import ignored_files
from training.splits import class_folders
from worker.engine import SHIPPED_MODEL
from worker.engine.choose import Precision

Folder = Annotated[Path, typer.Option("--model", help="model folder; the shipped one where not named")]
Out = Annotated[Path, typer.Option(help="folder to write; must be new or empty")]

model = typer.Typer(help="Model folders.", no_args_is_help=True, add_completion=False)


@model.callback()
def group() -> None:
    """Model folders."""


@model.command()
def verify(folder: Folder = SHIPPED_MODEL) -> None:
    """Check a model's manifest, weights and golden films; exit 1 at the first check that fails."""
    from training.model_folder import verify as checks  # noqa: PLC0415  TensorFlow loads only where it is needed

    for sentence in checks(folder):
        typer.echo(sentence)


@model.command()
def export(out: Out, folder: Folder = SHIPPED_MODEL) -> None:
    """Verify a model, copy it to a new folder for use as PLAINFILM_MODEL_DIR, and verify the copy."""
    from training.model_folder import export_model  # noqa: PLC0415

    manifest = export_model(folder, out)
    typer.echo(f"{manifest.name} {manifest.version} in {out}")


@model.command()
def golden(folder: Folder = SHIPPED_MODEL) -> None:
    """Record a model's answers to the sample films (the golden films); every later start must reproduce them."""
    from training.golden import write_golden  # noqa: PLC0415

    golden_set = write_golden(folder)
    typer.echo(f"{len(golden_set.films)} films recorded on {golden_set.device} ({golden_set.build})")
    typer.echo(f"elsewhere scores may differ by {golden_set.tolerance:.2g}")


@model.command()
def quantize(
    folder: Folder = SHIPPED_MODEL,
    manifest: Annotated[Path | None, typer.Option(help="CSV with file, label")] = None,
    folders: Annotated[Path | None, typer.Option(help="or a folder with one folder a class")] = None,
    seed: Annotated[int, typer.Option(help="random seed of the draw among its training films")] = 2020,
) -> None:
    """Quantize a model's weights to int8, calibrated on its training films; every run of `train` ends with this."""
    if (manifest is None) == (folders is None):
        raise InvalidRequest("Name the films with --manifest or with --folders, not both.")
    from training import quantize as work  # noqa: PLC0415
    from training.bars import show_bars  # noqa: PLC0415
    from training.model_films import find_films  # noqa: PLC0415

    _report_ignored_files(folder, folders)
    films = [example.path for example in find_films(folder, manifest, folders)]
    with show_bars() as progress:
        written = work.write_int8(folder, work.learned_among(folder, films), seed, progress)
    typer.echo(f"int8.npz of {written.name} {written.version}: SHA-256 {written.int8_sha256}")


@model.command()
def compare(  # noqa: PLR0913, PLR0917 - one argument an option
    folder: Folder = SHIPPED_MODEL,
    manifest: Annotated[Path | None, typer.Option(help="CSV with file, label")] = None,
    folders: Annotated[Path | None, typer.Option(help="or a folder with one folder a class")] = None,
    films: Annotated[int, typer.Option(min=1, help="how many of them, drawn at random")] = 500,
    seed: int = 0,
    precision: Annotated[Precision, typer.Option(help="precision of OpenVINO; Keras always runs in f32")] = "f32",
) -> None:
    """Compare the answers of both engines to the same films; without films named, to the sample films."""
    from training import engine_agreement as work  # noqa: PLC0415
    from training.bars import show_bars  # noqa: PLC0415
    from training.model_films import find_films  # noqa: PLC0415

    if manifest is not None and folders is not None:
        raise InvalidRequest("Name the films with --manifest or with --folders, not both.")
    named = manifest or folders
    paths = [example.path for example in find_films(folder, manifest, folders)] if named else samples.paths()
    with show_bars() as progress:
        agreement = work.compare(folder, work.choose(paths, films, seed), progress, precision)
    for answer, difference in agreement.largest.items():
        typer.echo(f"{answer}: largest difference {difference:.2g}, mean {agreement.mean[answer]:.2g}")
    typer.echo(f"{agreement.verdicts} of {agreement.films} verdicts differ")


@model.command()
def recalibrate(  # noqa: PLR0913, PLR0917 - one argument an option
    out: Out,
    manifest: Annotated[Path | None, typer.Option(help="CSV with file, label; group where patients repeat")] = None,
    folders: Annotated[Path | None, typer.Option(help="or a folder with one folder a class")] = None,
    folder: Folder = SHIPPED_MODEL,
    seed: Annotated[int, typer.Option(help="random seed of the split into a calibration half and a test half")] = 0,
    few: Annotated[bool, typer.Option("--few", help="with 20 to 39 films of a class too; the version says so")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Write a new version of a model with thresholds from your own films; the old one stays as it is."""
    if (manifest is None) == (folders is None):
        raise InvalidRequest("Name the films with --manifest or with --folders, not both.")
    from training import recalibrate as work  # noqa: PLC0415
    from training.bars import show_bars  # noqa: PLC0415
    from training.model_films import find_films  # noqa: PLC0415

    _report_ignored_files(folder, folders)
    films = find_films(folder, manifest, folders)
    with show_bars() as progress:
        record = work.recalibrate(folder, films, out, seed, progress, may_be_few=few)
    for line in work.as_lines(record):
        typer.echo(line)
    typer.echo(f"version {record.version} in {out}")


def _report_ignored_files(folder: Path, folders: Path | None) -> None:
    if folders is None:
        return
    from training.model_films import accepted_labels  # noqa: PLC0415

    for line in ignored_files(folders, class_folders(accepted_labels(folder))):
        typer.echo(f"left alone, {line}", err=True)
