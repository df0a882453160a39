"""What a run measures: which films, how many clients, how many rounds. A quick look, or everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

REPORTED_CLIENTS, REPORTED_SIDE_PX = 32, 1024
"""The load whose ratios are the report's headline."""


class Kind(StrEnum):
    """How films are encoded."""

    PNG = "png"
    JPEG = "jpeg"


@dataclass(frozen=True, slots=True)
class FilmSort:
    """Films of one encoding and size."""

    kind: Kind
    side_px: int

    @property
    def name(self) -> str:
        """E.g. 'png-1024'."""
        return f"{self.kind.value}-{self.side_px}"


@dataclass(frozen=True, slots=True)
class Load:
    """So many clients send so many films of one sort, each the next as soon as its last is answered."""

    sort: FilmSort
    clients: int
    films: int

    @property
    def name(self) -> str:
        """E.g. 'png-1024-32'."""
        return f"{self.sort.name}-{self.clients}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run.

    Attributes:
        warm: films of each sort that each server answers before the clock starts.
        is_full: the peers' pools are tuned first, and the tutorial design is also asked less often. Otherwise peers
            take the settings that are listed first.
    """

    rounds: int
    loads: Sequence[Load]
    warm: int
    is_full: bool

    @property
    def films(self) -> Mapping[FilmSort, int]:
        """How many distinct films of each sort one server sees: `EXTRA`, then to warm up, then every load's own."""
        needed = Counter({load.sort: EXTRA + self.warm for load in self.loads})
        for load in self.loads:
            needed[load.sort] += load.films
        return needed


EXTRA = 4
"""Films of each sort beside the loads': two of a cold start, two that all designs must agree on."""

FULL_FILMS = {1: 16, 8: 48, 32: 384, 64: 384}
"""By clients. So many take the quick designs some seconds: the load's start and its end, where clients wait for their
last film and none is sent, are a small part of it."""

SLOW_FILMS = 128
"""Most films a load of a design that takes as long for these as the others for all."""

QUICK_FILMS = {1: 8, 32: 64}


def full(rounds: int = 5) -> Plan:
    """Everything."""
    return Plan(rounds, _loads((1024, 512), FULL_FILMS), warm=24, is_full=True)


def quick(rounds: int = 1) -> Plan:
    """A look of three minutes at the most."""
    return Plan(rounds, _loads((1024,), QUICK_FILMS), warm=8, is_full=False)


def _loads(sides: Sequence[int], films: Mapping[int, int]) -> list[Load]:
    return [
        Load(FilmSort(kind, side), clients, count)
        for side, kind, (clients, count) in product(sides, Kind, films.items())
    ]
