"""One whole run: data, training, export, measurement through the serving engine, figures; `plainfilm train` calls it.

The splits of `report_splits` are measured once, after the model is exported: nothing is chosen by them. `resume`
continues an interrupted run.
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
    """Result of a run: the manifest as written, and the wall time of training in seconds.

    The seconds of a resumed run are those of the last attempt and of the stored features and finished epochs that the
    earlier attempts left.
    """

    manifest: ModelManifest
    seconds: float


def run(  # noqa: PLR0913, PLR0917 - a run's inputs
    recipe: Recipe, data: Path, out: Path, trained_at: str, progress: Progress, pretrained: Path | None = None
) -> Run:
    """Train a model, export it to `out`, measure what was exported, and draw its figures.

    Args:
        data: the data folder; for a recipe with drawn films they are drawn into `out`.
        trained_at: ISO 8601 date in UTC.
        pretrained: file of the initial weights, where it is not in the data folder.

    Raises:
        DataProblem: the films cannot be trained on, or the recipe's weights are missing; before training starts.
        InvalidRequest: `out` is not empty, so that files of another run could be taken for files of this one.
    """
    check_empty(out)
    data = films_folder(recipe, data, out)
    if recipe.drawn_films:
        write_films(data, {"train": recipe.drawn_films, "test": recipe.drawn_films // 2}, recipe.seed)
    recipe = recipe.starting_from(pretrained)  # in the recipe, so that the report finds them there too
    weights = data / recipe.pretrained if recipe.pretrained else None
    record = RunRecord(data=data.absolute(), pretrained=weights and weights.absolute(), trained_at=trained_at)
    inputs = _Inputs.read(recipe, record)
    digests = {"films_sha256": runs.films_digest(inputs.films), "recipe_sha256": recipe.sha256}
    record = record.model_copy(update=digests)
    runs.begin(out, recipe, record)
    with runs.alone(out):
        return _Attempt(recipe, record, out, inputs, RunLog(out / runs.LOG_FILE, progress)).carry_out()


def resume(out: Path, progress: Progress) -> Run:
    """Resume the run in `out` from its checkpoint: stored features and finished epochs are not repeated.

    Raises:
        DataProblem: there is no such run, it is finished, or its recipe or films have changed since it began.
        Conflict: another process is at work on it.
    """
    runs.read_record(out)  # first, so that no log is made in a folder that is no run
    with runs.alone(out):
        recipe, record = runs.read_unfinished(out)
        inputs = _Inputs.read(recipe, record)
        if runs.films_digest(inputs.films) != record.films_sha256:
            raise DataProblem(f"The films are no longer those that the run '{out.name}' began with; start a new one.")
        log = RunLog(out / runs.LOG_FILE, progress)
        log.note("resumed")
        return _Attempt(recipe, record, out, inputs, log).carry_out()


def films_folder(recipe: Recipe, data: Path, out: Path) -> Path:
    """Return the folder with the films of a run in `out`: the data folder, or the run's own for drawn films."""
    return out / "films" if recipe.drawn_films else data


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Checked inputs of a run: the films, and the initial weights by the table's names; None: none are named."""

    films: TrainingData
    pretrained: dict[str, FloatArray] | None

    @classmethod
    def read(cls, recipe: Recipe, record: RunRecord) -> _Inputs:
        if record.pretrained and not record.pretrained.is_file():
            raise DataProblem(
                f"The pretrained weights {record.pretrained.name} of the recipe '{recipe.name}' are not there: name "
                "them with --pretrained, or take a recipe that starts from nothing (--recipe seed2020)."
            )
        arrays = read_pretrained(record.pretrained, recipe.pretrained_sha256) if record.pretrained else None
        films = prepare(recipe, record.data)
        check_unseen(_reported(recipe, find_examples(recipe, record.data)), list_learned(films).known)
        return cls(films, arrays)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt at a run, from its start or its checkpoint to the finished model folder."""

    recipe: Recipe
    record: RunRecord
    out: Path
    inputs: _Inputs
    log: RunLog

    def carry_out(self) -> Run:
        films, log = self.inputs.films, self.log
        checkpoint = Checkpoint(self.out / runs.CHECKPOINT)
        seconds = checkpoint.seconds()
        log.note(
            f"recipe {self.recipe.name}: {len(films.train)} films to learn from, {len(films.validation)} to choose by"
        )
        try:
            result = fit(self.recipe, films, self.inputs.pretrained, progress=log, checkpoints=checkpoint)
            seconds += result.seconds
            manifest = self._finish(result)
            write_learning(self.out, Learning(seconds=seconds, kept_epoch=result.kept_epoch))
            write_learned(self.out, list_learned(films))
        except BaseException as error:
            log.note(f"stopped: {type(error).__name__}")
            raise
        checkpoint.forget()
        log.note(f"done: epoch {result.kept_epoch} kept, version {manifest.version}")
        return Run(manifest, seconds)

    def _finish(self, result: FitResult) -> ModelManifest:
        """Export, quantize, measure through the engine, record the golden set, draw."""
        recipe, out = self.recipe, self.out
        exported = export(result, out, self.record.trained_at.replace("-", "."), self.record.trained_at)
        manifest = self._quantize(exported, result)
        parts = {VALIDATION: self.inputs.films.validation}
        parts |= _reported(recipe, find_examples(recipe, self.record.data))
        engine = load_engine(out)
        metrics = {split: measure(ask(engine, films, self.log), recipe.labels) for split, films in parts.items()}
        write_golden(out)
        draw_curves(result.history, result.kept_epoch, out / "curves.png")
        for split, measured in metrics.items():
            if measured.confusion:
                draw_confusion(measured.confusion, recipe.labels, split, out / f"confusion_{split}.png")
        return add_metrics(out, manifest, metrics)

    def _quantize(self, manifest: ModelManifest, result: FitResult) -> ModelManifest:
        """Round the weights for int8 where OpenVINO would serve them; without OpenVINO it can be done later."""
        if not ends_pooled(folded(result.architecture), manifest.target_layer):
            return manifest
        if find_spec("openvino") is None:
            self.log.note(
                "not quantized: OpenVINO is not installed here; `plainfilm model quantize` does it where it is"
            )
            return manifest
        from training.quantize import write_int8  # noqa: PLC0415  it needs OpenVINO

        return write_int8(self.out, [film.path for film in self.inputs.films.train], self.recipe.seed, self.log)


def _reported(recipe: Recipe, examples: Sequence[Example]) -> dict[str, tuple[Example, ...]]:
    """Return the films of each report split that has any."""
    parts = {split: tuple(e for e in examples if e.split == split) for split in recipe.report_splits}
    return {split: films for split, films in parts.items() if films}
