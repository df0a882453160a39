"""Runs the turns of a cross-validation: one network a turn, each result stored as soon as it is there.

A folder holds the features that all turns share (`feature_store.py`) and `1.json`, `2.json`, ...: the predictions of
each turn's network; while a turn runs, also its checkpoint. A restart resumes after the last finished epoch. Each
network is exported to a folder that exists for its turn only, and predicts through the code that serves.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import keras
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import DataProblem
from training.checkpoint import Checkpoint
from training.dataset import Example, read_film
from training.evaluate import ask
from training.export import export
from training.features import Forms, Progress
from training.film_checks import check_films
from training.fit import start_network, train_network
from training.new_folder import write_whole
from training.report.feature_store import (
    FeatureStore,
    Pretrained,
    digest_json,
    film_identity,
    open_feature_store,
    short_name,
)
from training.report.folds import Turn
from training.state import FitResult
from worker.engine.keras_engine import load_engine

DIGEST_SHOWN: Final = 16
"""Hex digits of a turn's digest in the name of its checkpoint."""


class FilmPrediction(BaseModel):
    """Prediction for one film: forced choice, its calibrated probability, and whether the verdict names a label."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    label: str
    group: str
    choice: str
    probability: float
    has_verdict: bool


class TurnResult(BaseModel):
    """Result of one turn; `plan` is the digest of its recipe and films."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: str
    name: str
    labels: list[str]
    kept_epoch: int
    seconds: float
    films: list[FilmPrediction]


def run_turns(turns: Sequence[Turn], folder: Path, pretrained: Pretrained, progress: Progress) -> list[TurnResult]:
    """Return the result of each turn, read from its file where the turn is finished; films are read from disk.

    Args:
        turns: one or more, whose recipes agree in all that features depend on.
        folder: of these turns alone.
        pretrained: initial arrays, by the table's names.

    Raises:
        DataProblem: a film cannot be read, or the folder holds results of another plan.
    """
    folder.mkdir(parents=True, exist_ok=True)
    finished = {
        number: result
        for number, turn in enumerate(turns, start=1)
        if (result := _read_result(_result_path(folder, number), digest_turn(turn)))
    }
    if len(finished) == len(turns):
        return list(finished.values())
    check_films({film.path: film for turn in turns for film in (*_learned(turn), *turn.judged)}.values())
    films = list({film.path: film for turn in turns for film in _learned(turn)}.values())
    features = open_feature_store(films, turns[0].recipe, folder, pretrained, progress)
    start = {**pretrained, **features.frozen}
    results: list[TurnResult] = []
    for number, turn in enumerate(turns, start=1):
        result = finished.get(number) or _run(turn, features, start, _result_path(folder, number), progress)
        results.append(result)
        progress(f"turns of {folder.name}", number, len(turns))
    return results


def digest_turn(turn: Turn) -> str:
    """Return a SHA-256 of the turn's recipe and of the name, bytes, label and group of each film in each part."""
    parts = (turn.data.train, turn.data.validation, turn.judged)
    rows = [[[*film_identity(film), film.label, film.group] for film in part] for part in parts]
    return digest_json([turn.name, json.loads(turn.recipe.to_json()), rows])


def _learned(turn: Turn) -> tuple[Example, ...]:
    """Return the films that the turn's network is trained and calibrated on."""
    return (*turn.data.train, *turn.data.validation)


def _result_path(folder: Path, number: int) -> Path:
    return folder / f"{number}.json"


def _read_result(path: Path, plan: str) -> TurnResult | None:
    if not path.exists():
        return None
    try:
        result = TurnResult.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        message = f"{path.name} is not the result of a turn."
        raise DataProblem(message, path=str(path)) from error
    if result.plan != plan:
        raise DataProblem(f"{path.name} is of another recipe or of other films; name another folder.", path=str(path))
    return result


def _run(turn: Turn, features: FeatureStore, start: Pretrained, path: Path, progress: Progress) -> TurnResult:
    """Run or resume one turn, write its result to `path`, and delete its checkpoint."""
    checkpoint = Checkpoint(path.parent / f"checkpoint-{digest_turn(turn)[:DIGEST_SHOWN]}")
    result = _train_and_judge(turn, features, start, progress, checkpoint)
    write_whole(path, result.model_dump_json(indent=1) + "\n")
    checkpoint.forget()
    return result


def _train_and_judge(
    turn: Turn, features: FeatureStore, start: Pretrained, progress: Progress, checkpoint: Checkpoint
) -> TurnResult:
    """Train as `fit` does, then predict; no state of an earlier turn has an influence."""
    keras.utils.clear_session()
    recipe = turn.recipe
    network = start_network(recipe, len(turn.data.train), start)
    forms = Forms(recipe, network.architecture.input_shape, read_film)
    result = train_network(network, forms, features.take(turn.data, recipe), progress, checkpoint)
    return TurnResult(
        plan=digest_turn(turn),
        name=turn.name,
        labels=list(recipe.labels),
        kept_epoch=result.kept_epoch,
        seconds=result.seconds,
        films=_judge(result, turn.judged, progress),
    )


def _judge(result: FitResult, films: Sequence[Example], progress: Progress) -> list[FilmPrediction]:
    """Return the prediction for each film by the network as it would serve, with its own temperature and thresholds."""
    with tempfile.TemporaryDirectory() as folder:
        export(result, Path(folder), version="turn", trained_at="")
        engine = load_engine(Path(folder))
        answers = ask(engine, films, progress)
    labels, scores = engine.manifest.labels, answers.probabilities
    rows = zip(films, scores.argmax(axis=1), scores.max(axis=1), answers.has_verdict, strict=True)
    return [
        FilmPrediction(
            file=short_name(film),
            label=film.label,
            group=film.group,
            choice=labels[place],
            probability=float(top),
            has_verdict=bool(has_verdict),
        )
        for film, place, top, has_verdict in rows
    ]
