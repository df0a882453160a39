"""What the service would say of films given as pixels: preprocessing, engine and verdict, as the worker does."""

from __future__ import annotations

from collections.abc import Sequence

from shared.arrays import Pixels
from shared.domain import Verdict
from shared.verdict import assess
from worker.engine.base import Engine, look


def give_verdicts(engine: Engine, films: Sequence[Pixels]) -> list[Verdict]:
    """One verdict a film, in one call of the engine; films (H, W) uint8 or uint16 of any sizes, one or more."""
    return [assess(seen, engine.manifest).verdict for seen in look(engine, films)]
