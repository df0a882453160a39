"""The service's verdicts on films given as pixels: preprocessing, engine and verdict, as in the worker."""

from __future__ import annotations

from collections.abc import Sequence

from shared.arrays import Pixels
from shared.domain import Verdict
from shared.verdict import assess
from worker.engine.base import Engine, look


def give_verdicts(engine: Engine, films: Sequence[Pixels]) -> list[Verdict]:
    """Return one verdict a film, by one engine call, for one or more films (H, W) uint8 or uint16 of any sizes."""
    return [assess(evidence, engine.manifest).verdict for evidence in look(engine, films)]
