"""One whole run: data, learning, export, measurement through the serving engine, figures; `plainfilm train` calls it.

The splits of `report_splits` are looked at once, after the model is exported: nothing is chosen by them. A run that
was cut off goes on where it was: `resume`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from shared.arrays import FloatArray
from shared.errors import DataProblem
from shared.manifest import ModelManifest
from training import runs
from training.checkpoint import Checkpoint
from training.dataset import Example
from training.evaluate import ask, measure
from training.export import add_metrics, export
from training.features import Progress
from training.fit import fit
from training.golden import write_golden
from training.imagenet import read_pretrained
from training.learned import check_unseen, list_learned, write_learned
from training.new_folder import check_empty
from training.recipe import Recipe
from training.report.facts import Learning, write_learning
from training.report.figures import draw_confusion, draw_curves
from training.runs import RunLog, RunRecord
from training.splits import TrainingData, find_examples, prepare
from training.state import FitResult
from training.synth import write_films
from worker.engine.architecture import folded
from worker.engine.choose import ends_pooled
from worker.engine.keras_engine import load_engine

VALIDATION: Final = "validation"


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a run: the manifest as written, and how long the learning took.

    Of a resumed run that is the last attempt, and what the earlier ones finished: stored features and epochs.
    """

    manifest: ModelManifest
    seconds: float


def run(  # noqa: PLR0913, PLR0917 - what a run is asked to do
    recipe: Recipe, data: Path, out: Path, trained_at: str, progress: Progress, pretrained: Path | None = None
) -> Run:
    """Learn, export to `out`, measure what was exported, draw.

    Args:
        data: the data folder; for a recipe with drawn films they are drawn into `out`.
        trained_at: ISO 8601 date in UTC.
        pretrained: the weights to start from, where they are not in the data folder.

    Raises:
        DataProblem: the films cannot be trained on, or the recipe's weights are not there; before training starts.
        InvalidRequest: `out` holds something, and what another run left there would pass for this one's.
    """
    check_empty(out)
    data = films_folder(recipe, data, out)
    if recipe.drawn_films:
        write_films(data, {"train": recipe.drawn_films, "test": recipe.drawn_films // 2}, recipe.seed)
    recipe = recipe.starting_from(pretrained)  # in the recipe, so that the report finds them there too
    start = data / recipe.pretrained if recipe.pretrained else None
    record = RunRecord(data=data.absolute(), pretrained=start and start.absolute(), trained_at=trained_at)
    arrays, films = _inputs(recipe, record)
    record = record.model_copy(update={"films_sha256": runs.films_digest(films)})
    runs.begin(out, recipe, record)
    return _carry_out(recipe, record, out, RunLog(out / runs.LOG_FILE, progress), (arrays, films))


def resume(out: Path, progress: Progress) -> Run:
    """Go on with the run in `out`: stored features and finished epochs are not done again.

    Raises:
        DataProblem: there is no such run, it is finished, or its films are no longer those it began with.
    """
    recipe, record = runs.read_unfinished(out)
    arrays, films = _inputs(recipe, record)
    if runs.films_digest(films) != record.films_sha256:
        raise DataProblem(f"The films are no longer those that the run '{out.name}' began with; start a new one.")
    log = RunLog(out / runs.LOG_FILE, progress)
    log.note("resumed")
    return _carry_out(recipe, record, out, log, (arrays, films))


def films_folder(recipe: Recipe, data: Path, out: Path) -> Path:
    """Where the films of a run in `out` lie: the data folder, or the run's own for a recipe with drawn films."""
    return out / "films" if recipe.drawn_films else data


def _inputs(recipe: Recipe, record: RunRecord) -> tuple[dict[str, FloatArray] | None, TrainingData]:
    """Weights to start from, and films: checked."""
    if record.pretrained and not record.pretrained.is_file():
        raise DataProblem(
            f"The pretrained weights {record.pretrained.name} of the recipe '{recipe.name}' are not there: name them "
            "with --pretrained, or take a recipe that starts from nothing (--recipe seed2020)."
        )
    arrays = read_pretrained(record.pretrained, recipe.pretrained_sha256) if record.pretrained else None
    films = prepare(recipe, record.data)
    check_unseen(_reported(recipe, find_examples(recipe, record.data)), list_learned(films).known)
    return arrays, films


def _carry_out(
    recipe: Recipe,
    record: RunRecord,
    out: Path,
    log: RunLog,
    inputs: tuple[dict[str, FloatArray] | None, TrainingData],
) -> Run:
    arrays, films = inputs
    checkpoint = Checkpoint(out / runs.CHECKPOINT)
    seconds = checkpoint.seconds()
    log.note(f"recipe {recipe.name}: {len(films.train)} films to learn from, {len(films.validation)} to choose by")
    try:
        result = fit(recipe, films, arrays, progress=log, checkpoints=checkpoint)
        seconds += result.seconds
        manifest = _finish(result, record, films, out, log)
        write_learning(out, Learning(seconds=seconds, kept_epoch=result.kept_epoch))
        write_learned(out, list_learned(films))
    except BaseException as error:
        log.note(f"stopped: {type(error).__name__}")
        raise
    checkpoint.forget()
    log.note(f"done: epoch {result.kept_epoch} kept, version {manifest.version}")
    return Run(manifest, seconds)


def _finish(result: FitResult, record: RunRecord, films: TrainingData, out: Path, log: RunLog) -> ModelManifest:
    """Export, quantize, measure through the engine, record the golden set, draw."""
    recipe = result.recipe
    manifest = export(result, out, record.trained_at.replace("-", "."), record.trained_at)
    manifest = _quantize(manifest, result, films, out, log)
    parts = {VALIDATION: films.validation} | _reported(recipe, find_examples(recipe, record.data))
    engine = load_engine(out)
    metrics = {split: measure(ask(engine, shown, log), recipe.labels) for split, shown in parts.items()}
    write_golden(out)
    draw_curves(result.history, result.kept_epoch, out / "curves.png")
    for split, measured in metrics.items():
        if measured.confusion:
            draw_confusion(measured.confusion, recipe.labels, split, out / f"confusion_{split}.png")
    return add_metrics(out, manifest, metrics)


def _quantize(manifest: ModelManifest, result: FitResult, films: TrainingData, out: Path, log: RunLog) -> ModelManifest:
    """Round the weights for int8, where OpenVINO would serve them; where it is absent, that can be done later."""
    if not ends_pooled(folded(result.architecture), manifest.target_layer):
        return manifest
    if find_spec("openvino") is None:
        log.note("not quantized: OpenVINO is not installed here; `plainfilm model quantize` does it where it is")
        return manifest
    from training.quantize import write_int8  # noqa: PLC0415  it needs OpenVINO

    return write_int8(out, [film.path for film in films.train], result.recipe.seed, log)


def _reported(recipe: Recipe, examples: Sequence[Example]) -> dict[str, tuple[Example, ...]]:
    parts = {split: tuple(e for e in examples if e.split == split) for split in recipe.report_splits}
    return {split: films for split, films in parts.items() if films}
