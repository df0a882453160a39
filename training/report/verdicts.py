"""What the service would say of films given as pixels: preprocessing, engine and verdict, as the worker does."""

from __future__ import annotations

from collections.abc import Sequence

from shared.arrays import Pixels
from shared.domain import Verdict
from shared.imaging.preprocess import prepare, stack
from shared.verdict import assess
from worker.engine.base import Engine


def give_verdicts(engine: Engine, films: Sequence[Pixels]) -> list[Verdict]:
    """One verdict a film, in one call of the engine; films (H, W) uint8 or uint16 of any sizes, one or more."""
    manifest = engine.manifest
    inputs = [prepare(pixels, manifest.preprocessing, manifest.input_shape) for pixels in films]
    inference = engine.infer(stack([film.values for film in inputs]))
    return [assess(inference.evidence(place, film), manifest).verdict for place, film in enumerate(inputs)]
