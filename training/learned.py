"""Films that a model has used, by the SHA-256 of their bytes: for training, for validation, or for recalibration.

A run and a recalibration write these digests beside the weights, so that no report measures a model on a film that it
has used (a leak), whatever the film's split and name are. Loads no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import DataProblem
from training.dataset import Example, film_sha256, refuse, sha256_or_none
from training.splits import TrainingData

LEARNED_FILE: Final = "learned_films.json"
RECALIBRATION_FILE: Final = "recalibration.json"

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Known = Mapping[str, str]
"""A film's SHA-256 to its use, as a predicate for messages: 'was learned from'."""


class LearnedFilms(BaseModel):
    """SHA-256s of the training and validation films of a run, sorted, each once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learned_from: tuple[Digest, ...]
    chosen_by: tuple[Digest, ...]

    @property
    def known(self) -> Known:
        """Each film's SHA-256 to its use; training takes precedence."""
        return dict.fromkeys(self.chosen_by, "was chosen by") | dict.fromkeys(self.learned_from, "was learned from")


class RecalibratedOn(BaseModel):
    """The part of `recalibration.json` that names the films that set the thresholds.

    Attributes:
        films: label to number of films.
        films_sha256: their SHA-256s, sorted; empty where an older build recalibrated the model.
        is_few: they were fewer than recalibration asks for; False where an older build did not record it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    films: dict[str, int]
    films_sha256: tuple[Digest, ...] = ()
    is_few: bool = False

    @property
    def known(self) -> Known:
        """Each film's SHA-256 to its use."""
        return dict.fromkeys(self.films_sha256, "set the thresholds")


Form = TypeVar("Form", bound=BaseModel)


def digests(films: Iterable[Example]) -> tuple[str, ...]:
    """Return the SHA-256s of the films' bytes, sorted, each once."""
    return tuple(sorted({film_sha256(film.path) for film in films}))


def list_learned(data: TrainingData) -> LearnedFilms:
    """Return the digests of the training and validation films of a run."""
    return LearnedFilms(learned_from=digests(data.train), chosen_by=digests(data.validation))


def write_learned(folder: Path, films: LearnedFilms) -> None:
    """Write `folder/learned_films.json`."""
    (folder / LEARNED_FILE).write_text(films.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_learned(folder: Path) -> LearnedFilms | None:
    """Return the films that the model in `folder` was trained and validated on; None where it has no record of them.

    Raises:
        DataProblem: the record is not valid.
    """
    return _read(LearnedFilms, folder / LEARNED_FILE)


def read_recalibrated(folder: Path) -> RecalibratedOn | None:
    """Return the films that set the thresholds of the model in `folder`; None where it was not recalibrated.

    Raises:
        DataProblem: the record is not valid.
    """
    return _read(RecalibratedOn, folder / RECALIBRATION_FILE)


def check_unseen(parts: Mapping[str, Sequence[Example]], known: Known) -> None:
    """Check that no film of these splits was used by the model; an unreadable film is left to the code that reads it.

    Raises:
        DataProblem: naming each film that was used, by its row.
    """
    rows = [(film, known.get(sha256_or_none(film.path) or "")) for films in parts.values() for film in films]
    refuse([
        f"{film.where}: the film {film.path.name}{_of_split(film)} {use}: it cannot be measured on."
        for film, use in rows if use
    ])  # fmt: skip


def _of_split(film: Example) -> str:
    return f" of split '{film.split}'" if film.split else ""


def count_known(films: Iterable[Example], known: Known) -> int:
    """Return how many of the films the model has used."""
    return sum((sha256_or_none(film.path) or "") in known for film in films)


def _read(form: type[Form], path: Path) -> Form | None:
    if not path.is_file():
        return None
    try:
        return form.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataProblem(f"The model's {path.name} is not valid.", folder=str(path.parent)) from error
