"""The golden set: sample films with the scores that a model gave them when it was made, compared again at the start.

It detects what a checksum cannot: a library, driver or processor that gives other answers with the same weights.
`training/golden.py` writes `golden.json` beside the weights; the worker's start and `plainfilm model verify` check it.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared import samples
from shared.domain import Evidence, Verdict
from shared.errors import GoldenMismatch, ManifestMismatch
from shared.imaging.decode import decode
from shared.verdict import assess
from worker.engine.base import Engine, look

GOLDEN_FILE: Final = "golden.json"

SAME_TOLERANCE: Final = 1e-5
"""Tolerance on the recorded device and build. Other batch sizes, thread counts and instruction sets changed the shipped
model's scores by up to 4.8e-7 (measured on an x86-64 CPU, November 2026)."""

BATCH: Final = 4


class GoldenState(StrEnum):
    """Result of the check of a golden set: its films got the recorded answers, or there are no films to check."""

    PASSED = "passed"
    ABSENT = "absent"


class GoldenFilm(BaseModel):
    """One film and its recorded answer; the numbers are the shortest decimals that give the same float32.

    Attributes:
        file: the sample's name, for messages; `sha256` of its bytes identifies it.
        probabilities: calibrated, by label.
        other, film_distance, feature_distance: as in `shared.domain.Evidence`.
        verdict: by the model's thresholds.
        is_steady: whether the verdict is the same in coarser arithmetic, so that every device must give it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    probabilities: dict[str, float]
    other: float
    film_distance: float
    feature_distance: float
    verdict: Verdict
    is_steady: bool


class Golden(BaseModel):
    """The stored answers of one model.

    Attributes:
        weights_sha256: the model whose answers these are.
        device: the engine's, with the build of TensorFlow; build: the machine's, see `build_name`.
        tolerance: the largest `difference` allowed on another device or build.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    device: str
    build: str
    tolerance: float = Field(gt=0)
    films: tuple[GoldenFilm, ...] = Field(min_length=1)


def read_golden(folder: Path) -> Golden | None:
    """Return `folder/golden.json`; None where the model has none.

    Raises:
        ManifestMismatch: the file cannot be read or is not valid.
    """
    try:
        text = (folder / GOLDEN_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestMismatch("The model's golden.json cannot be read.", folder=str(folder)) from error
    try:
        return Golden.model_validate_json(text)
    except ValidationError as error:
        raise ManifestMismatch("The model's golden.json is not of the known form.", folder=str(folder)) from error


@cache
def build_name() -> str:
    """Return the processor's kind and the instruction sets that numpy found on it, e.g. 'x86_64 X86_V3'."""
    extensions: Sequence[str] = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    return " ".join((platform.machine(), *extensions))


def is_alike(engine: Engine, device: str, build: str) -> bool:
    """Return whether answers of that device and build must be reproduced here within `SAME_TOLERANCE`.

    This is never so for a GPU: two GPUs of the same name may differ by more.
    """
    return (device, build) == (engine.device, build_name()) and device.startswith("cpu/")


def check_golden(engine: Engine, golden: Golden | None, paths: Sequence[Path] | None = None) -> GoldenState:
    """Classify the golden films again and compare; ABSENT where there is no set or this build ships none of its films.

    Args:
        paths: files among which the films are; the sample films by default.

    Raises:
        GoldenMismatch: the set is of another model, one of its films is missing, or a film gets another answer.
    """
    if golden is None:
        return GoldenState.ABSENT
    if golden.weights_sha256 != engine.manifest.weights_sha256:
        raise GoldenMismatch("The golden set is of another model than the weights beside it.")
    available = by_sha256(samples.paths() if paths is None else paths)
    if not any(film.sha256 in available for film in golden.films):
        return GoldenState.ABSENT
    absent = [film.file for film in golden.films if film.sha256 not in available]
    if absent:
        raise GoldenMismatch(f"The golden film {absent[0]} is not among the sample films, or has changed.")
    is_narrow = is_alike(engine, golden.device, golden.build)
    for film, answer in zip(golden.films, see(engine, [available[f.sha256] for f in golden.films]), strict=True):
        _compare(film, answer, engine, SAME_TOLERANCE if is_narrow else golden.tolerance, is_same=is_narrow)
    return GoldenState.PASSED


def see(engine: Engine, films: Sequence[bytes]) -> Iterator[Evidence]:
    """Yield the evidence on each film, given as the bytes of its file."""
    for start in range(0, len(films), BATCH):
        yield from look(engine, (decode(data).pixels for data in films[start : start + BATCH]))


def by_sha256(paths: Sequence[Path]) -> Mapping[str, bytes]:
    """Return the files' bytes by their SHA-256."""
    return {hashlib.sha256(data).hexdigest(): data for data in (path.read_bytes() for path in paths)}


def difference(film: GoldenFilm, answer: Evidence) -> float:
    """Return the largest difference from the recorded numbers; of those above 1 in size, relative to that size."""
    stored = np.array([*film.probabilities.values(), film.other, film.film_distance, film.feature_distance])
    now = np.array([*answer.probabilities, answer.other, answer.film_distance, answer.feature_distance], np.float64)
    return float((np.abs(now - stored) / np.maximum(1.0, np.abs(stored))).max())


def _compare(film: GoldenFilm, answer: Evidence, engine: Engine, allowed: float, *, is_same: bool) -> None:
    if tuple(film.probabilities) != engine.manifest.labels:
        raise GoldenMismatch(f"The golden film {film.file} has other labels than the model.")
    deviation = difference(film, answer)
    if not deviation <= allowed:  # also where it is nan
        raise GoldenMismatch(f"The golden film {film.file} is off by {deviation:.2g}; {allowed:.2g} is allowed here.")
    verdict = assess(answer, engine.manifest).verdict
    if verdict != film.verdict and (is_same or film.is_steady):
        raise GoldenMismatch(f"The golden film {film.file} is called {verdict}, not {film.verdict} as recorded.")
