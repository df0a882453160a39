"""The golden set: sample films with the scores that a model gave them when it was made, asked again at the start.

Finds what a checksum cannot: another library, driver or processor under the same weights that answers otherwise.
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
"""On the recorded device and build. Other batch sizes, thread counts and instruction sets moved the shipped model's
scores by up to 4.8e-7 (measured on an x86-64 CPU, November 2026)."""

BATCH: Final = 4


class GoldenState(StrEnum):
    """What a golden set said: its films were asked and answered alike, or there are none to ask."""

    PASSED = "passed"
    ABSENT = "absent"


class GoldenFilm(BaseModel):
    """One film and what was seen of it; the numbers are the shortest decimals that name their float32.

    Attributes:
        file: of the sample, for messages; `sha256` of its bytes is what identifies it.
        probabilities: calibrated, by label.
        other, film_distance, feature_distance: as in `shared.domain.Evidence`.
        verdict: by the model's thresholds.
        is_steady: the verdict also held in coarser arithmetic, so that every device must give it.
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
        weights_sha256: the model they are of.
        device: the engine's, build of TensorFlow included; build: the machine's, see `build_name`.
        tolerance: largest difference, see `difference`, that another device or build may show.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    device: str
    build: str
    tolerance: float = Field(gt=0)
    films: tuple[GoldenFilm, ...] = Field(min_length=1)


def read_golden(folder: Path) -> Golden | None:
    """`folder/golden.json`; None where the model has none.

    Raises:
        ManifestMismatch: it cannot be read or is not of this form.
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
    """The processor's kind and the instruction sets numpy found on it, e.g. 'x86_64 X86_V3'."""
    found: Sequence[str] = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    return " ".join((platform.machine(), *found))


def is_alike(engine: Engine, device: str, build: str) -> bool:
    """Whether what that device and build answered must come out here within `SAME_TOLERANCE`.

    Never of a GPU: two that have a name in common may differ by more.
    """
    return (device, build) == (engine.device, build_name()) and device.startswith("cpu/")


def check_golden(engine: Engine, golden: Golden | None, paths: Sequence[Path] | None = None) -> GoldenState:
    """Ask the golden films again and compare; `absent` where there is no set, or this build ships none of its films.

    Args:
        paths: where the films may be; the sample films unless given.

    Raises:
        GoldenMismatch: the set is of another model, a film of it is not there, or a film is answered otherwise.
    """
    if golden is None:
        return GoldenState.ABSENT
    if golden.weights_sha256 != engine.manifest.weights_sha256:
        raise GoldenMismatch("The golden set is of another model than the weights beside it.")
    at_hand = by_sha256(samples.paths() if paths is None else paths)
    if not any(film.sha256 in at_hand for film in golden.films):
        return GoldenState.ABSENT
    absent = [film.file for film in golden.films if film.sha256 not in at_hand]
    if absent:
        raise GoldenMismatch(f"The golden film {absent[0]} is not among the sample films, or has changed.")
    is_narrow = is_alike(engine, golden.device, golden.build)
    for film, found in zip(golden.films, see(engine, [at_hand[f.sha256] for f in golden.films]), strict=True):
        _compare(film, found, engine, SAME_TOLERANCE if is_narrow else golden.tolerance, is_same=is_narrow)
    return GoldenState.PASSED


def see(engine: Engine, films: Sequence[bytes]) -> Iterator[Evidence]:
    """What the engine sees of each film, given as the bytes of its file."""
    for start in range(0, len(films), BATCH):
        yield from look(engine, (decode(data).pixels for data in films[start : start + BATCH]))


def by_sha256(paths: Sequence[Path]) -> Mapping[str, bytes]:
    """The files' bytes by their SHA-256."""
    return {hashlib.sha256(data).hexdigest(): data for data in (path.read_bytes() for path in paths)}


def difference(film: GoldenFilm, found: Evidence) -> float:
    """The largest difference between stored and found numbers; of numbers above 1 in size relative to that size."""
    stored = np.array([*film.probabilities.values(), film.other, film.film_distance, film.feature_distance])
    now = np.array([*found.probabilities, found.other, found.film_distance, found.feature_distance], np.float64)
    return float((np.abs(now - stored) / np.maximum(1.0, np.abs(stored))).max())


def _compare(film: GoldenFilm, found: Evidence, engine: Engine, allowed: float, *, is_same: bool) -> None:
    if tuple(film.probabilities) != engine.manifest.labels:
        raise GoldenMismatch(f"The golden film {film.file} has other labels than the model.")
    by = difference(film, found)
    if not by <= allowed:  # also where it is not a number
        raise GoldenMismatch(f"The golden film {film.file} is off by {by:.2g}; {allowed:.2g} is allowed here.")
    verdict = assess(found, engine.manifest).verdict
    if verdict != film.verdict and (is_same or film.is_steady):
        raise GoldenMismatch(f"The golden film {film.file} is called {verdict}, not {film.verdict} as recorded.")
