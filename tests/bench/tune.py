"""Tuning the peers: each of a peer's settings answers the same short load, and the quickest setting is kept.

A peer that is not tuned would flatter us. plainfilm itself is measured with its defaults.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import measure
from tests.bench.designs import Design, Setting
from tests.bench.measure import Films
from tests.bench.plan import REPORTED_CLIENTS

FILMS = 64
"""A sort, at 32 clients."""

CEILING_SETTINGS: Sequence[Setting] = ({"batch": 1}, {"batch": 8})


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting and what it reached: films a second, by sort; the geometric mean decides."""

    setting: Setting
    films_per_s: Mapping[str, float]

    @property
    def score(self) -> float:
        """The geometric mean."""
        product = 1.0
        for value in self.films_per_s.values():
            product *= value
        return float(product ** (1 / max(1, len(self.films_per_s))))

    def to_json(self) -> dict[str, Any]:  # Any: JSON
        """As in the results."""
        return {"setting": dict(self.setting), "films_per_s": dict(self.films_per_s)}


def best(trials: Sequence[Trial]) -> Trial:
    """The quickest; of equals the first."""
    return max(trials, key=lambda trial: trial.score)


def tune(design: Design, films: Films, folder: Path) -> list[Trial]:
    """Every setting of a server, each on a fresh start."""
    return [_try(design, setting, films, folder / f"{design.name}-{n}") for n, setting in enumerate(design.settings)]


def tune_ceiling(films: Films, processes: int) -> list[Trial]:
    """The bare loop with one film a call and with eight."""
    return [
        Trial(setting, _each(films, lambda paths, s=setting: measure.run_ceiling(paths, processes, s["batch"])))
        for setting in CEILING_SETTINGS
    ]


def _try(design: Design, setting: Setting, films: Films, folder: Path) -> Trial:
    started = time.monotonic()
    with measure.running(design, setting, folder) as server:
        measure.cold_start(server, started, next(iter(films.values()))[:2])
        measure.send(server, [paths[2] for paths in films.values()] * 8, 8)
        return Trial(
            setting, _each(films, lambda paths: measure.send(server, paths, REPORTED_CLIENTS)["measures"])
        )  # fmt: skip


def _each(films: Films, run: Callable[[Sequence[Path]], Mapping[str, float]]) -> dict[str, float]:
    return {sort.name: run(paths[3 : 3 + FILMS])["films_per_s"] for sort, paths in films.items()}
