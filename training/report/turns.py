"""Runs the turns of a cross-validation: features stored once, one network a turn, each answer kept as it comes.

A folder holds `features.npy` (float16, read back as a memory map), `features.sha256` (of what they are of) and
`1.json`, `2.json`, ...: what each turn's network said; while a turn runs, its checkpoint. A second start goes on
after the last epoch. Each network is exported to a folder that lives for its turn only, and judges through the code
that serves.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import keras
import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.arrays import FloatArray
from shared.errors import DataProblem
from training.checkpoint import Checkpoint
from training.course import FitResult
from training.dataset import Example, check_films, film_sha256, read_film
from training.evaluate import ask
from training.export import export
from training.features import Forms, Progress, Stored, store_features
from training.fit import learn, start_network
from training.network import Network
from training.new_folder import write_whole
from training.recipe import Recipe
from training.report.folds import Turn
from worker.engine.keras_engine import load_engine

FEATURES_FILE: Final = "features.npy"
DIGEST_FILE: Final = "features.sha256"
DIGEST_SHOWN: Final = 16

Pretrained = Mapping[str, FloatArray]


class Said(BaseModel):
    """What a turn's network said of a film: forced choice, its calibrated probability, whether a label is given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    label: str
    group: str
    choice: str
    probability: float
    has_verdict: bool


class TurnResult(BaseModel):
    """What came of one turn; `plan` is the digest of its recipe and films."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: str
    name: str
    labels: list[str]
    kept_epoch: int
    seconds: float
    films: list[Said]


def run_turns(turns: Sequence[Turn], folder: Path, pretrained: Pretrained, progress: Progress) -> list[TurnResult]:
    """The result of each turn, from its file where it is done; films are read from disk.

    Args:
        turns: one or more, whose recipes agree in all that features depend on.
        folder: of these turns alone.
        pretrained: arrays to start from, by the table's names.

    Raises:
        DataProblem: a film cannot be read, or the folder holds results of another plan.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = [_read_result(folder / f"{number}.json", digest_turn(turn)) for number, turn in enumerate(turns, start=1)]
    if None not in done:
        return [found for found in done if found]
    check_films({film.path: film for turn in turns for film in _films(turn)}.values())
    shelf, frozen = _fill_shelf(turns, folder, pretrained, progress)
    results: list[TurnResult] = []
    for number, (turn, found) in enumerate(zip(turns, done, strict=True), start=1):
        result = found
        if result is None:
            memory = Checkpoint(folder / f"checkpoint-{digest_turn(turn)[:DIGEST_SHOWN]}")
            result = _run(turn, shelf, {**pretrained, **frozen}, progress, memory)
            write_whole(folder / f"{number}.json", result.model_dump_json(indent=1) + "\n")
            memory.forget()
        results.append(result)
        progress(f"turns of {folder.name}", number, len(turns))
    return results


def digest_turn(turn: Turn) -> str:
    """SHA-256 of the turn's recipe and of the file, its bytes, label and group of each film in each part."""
    parts = (turn.data.train, turn.data.validation, turn.judged)
    rows = [[[*_identity(film), film.label, film.group] for film in part] for part in parts]
    return _digest([turn.name, json.loads(turn.recipe.to_json()), rows])


def _read_result(path: Path, plan: str) -> TurnResult | None:
    if not path.exists():
        return None
    try:
        found = TurnResult.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        message = f"{path.name} is not the result of a turn."
        raise DataProblem(message, path=str(path)) from error
    if found.plan != plan:
        raise DataProblem(f"{path.name} is of another recipe or of other films; name another folder.", path=str(path))
    return found


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Stored forms (N, F, ...) of all films of all turns, and where each film's are."""

    stored: Stored
    places: Mapping[Path, int]

    def take(self, films: Sequence[Example], copies: int) -> Stored:
        """The films' first 1 + copies forms, in memory."""
        rows = np.array([self.places[film.path] for film in films], np.int64)
        return np.ascontiguousarray(self.stored[rows, : 1 + copies])


def _fill_shelf(
    turns: Sequence[Turn], folder: Path, pretrained: Pretrained, progress: Progress
) -> tuple[_Shelf, dict[str, FloatArray]]:
    """The features of all films that are learned from, and the arrays of the frozen rows that gave them."""
    films = list({film.path: film for turn in turns for film in (*turn.data.train, *turn.data.validation)}.values())
    recipe = turns[0].recipe
    network = start_network(recipe, len(films), pretrained)
    frozen = _frozen_arrays(network)
    digest = _features_digest(recipe, films, frozen)
    copies = max(recipe.copies, recipe.calibration_copies)
    if not _is_stored(folder, digest):
        _store(films, Forms(recipe, network.architecture.input_shape, read_film), network, folder, progress, copies)
        write_whole(folder / DIGEST_FILE, digest)
    flat = np.load(folder / FEATURES_FILE, mmap_mode="r", allow_pickle=False)
    stored = flat.reshape(len(films), 1 + copies, *flat.shape[1:])
    return _Shelf(stored, {film.path: place for place, film in enumerate(films)}), frozen


def _store(  # noqa: PLR0913,PLR0917 - one call, in one place
    films: Sequence[Example], forms: Forms, network: Network, folder: Path, progress: Progress, copies: int
) -> None:
    (folder / DIGEST_FILE).unlink(missing_ok=True)
    part = folder / f"{FEATURES_FILE}.part"

    def allocate(shape: tuple[int, ...]) -> Stored:
        return np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape)

    store_features(films, forms, network.trunk, progress, copies=copies, allocate=allocate)
    part.replace(folder / FEATURES_FILE)


def _is_stored(folder: Path, digest: str) -> bool:
    found = folder / DIGEST_FILE
    return (folder / FEATURES_FILE).exists() and found.exists() and found.read_text(encoding="utf-8") == digest


def _features_digest(recipe: Recipe, films: Sequence[Example], frozen: Mapping[str, FloatArray]) -> str:
    """SHA-256 of all that stored forms depend on: films, their copies, preprocessing, and the frozen rows' arrays."""
    knobs = json.loads(recipe.to_json())
    chosen = [knobs[name] for name in ("architecture", "preprocessing", "frozen_until", "augmentation", "seed")]
    arrays = [[name, hashlib.sha256(frozen[name].tobytes()).hexdigest()] for name in sorted(frozen)]
    return _digest([chosen, recipe.copies, recipe.calibration_copies, [_identity(film) for film in films], arrays])


def _identity(film: Example) -> tuple[str, str]:
    """The film's name and the digest of its bytes: another hospital's films may have the same names."""
    return _name(film), film_sha256(film.path)


def _name(film: Example) -> str:
    """The film's file and folder, wherever the data folder lies."""
    return "/".join(film.path.parts[-2:])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _frozen_arrays(network: Network) -> dict[str, FloatArray]:
    """The arrays of the rows that do not learn, by the table's names."""
    names = {layer.name for layer in network.frozen.layers} if network.frozen is not None else set()
    return {name: array for name, array in network.arrays().items() if name.rpartition(".")[0] in names}


def _run(turn: Turn, shelf: _Shelf, start: Pretrained, progress: Progress, memory: Checkpoint) -> TurnResult:
    """Learn as `fit` does and judge; nothing of the turn before plays a part."""
    keras.utils.clear_session()
    recipe = turn.recipe
    network = start_network(recipe, len(turn.data.train), start)
    forms = Forms(recipe, network.architecture.input_shape, read_film)
    train = shelf.take(turn.data.train, recipe.copies)
    held = shelf.take(turn.data.validation, recipe.calibration_copies)
    result = learn(network, forms, turn.data, (train, held), progress, memory)
    return TurnResult(
        plan=digest_turn(turn),
        name=turn.name,
        labels=list(recipe.labels),
        kept_epoch=result.kept_epoch,
        seconds=result.seconds,
        films=_judge(result, turn.judged, progress),
    )


def _judge(result: FitResult, films: Sequence[Example], progress: Progress) -> list[Said]:
    """Each film by the network as it would be served, with its own temperature and thresholds."""
    with tempfile.TemporaryDirectory() as folder:
        export(result, Path(folder), version="turn", trained_at="")
        engine = load_engine(Path(folder))
        answers = ask(engine, films, progress)
    labels, scores = engine.manifest.labels, answers.probabilities
    rows = zip(films, scores.argmax(axis=1), scores.max(axis=1), answers.has_verdict, strict=True)
    return [
        Said(
            file=_name(film),
            label=film.label,
            group=film.group,
            choice=labels[place],
            probability=float(top),
            has_verdict=bool(verdict),
        )
        for film, place, top, verdict in rows
    ]


def _films(turn: Turn) -> tuple[Example, ...]:
    return (*turn.data.train, *turn.data.validation, *turn.judged)
