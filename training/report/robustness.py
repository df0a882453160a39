"""Robustness: how often a harmless change of a film, see `changes.py`, changes its verdict. Called by the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from shared.arrays import Pixels
from shared.model_report import Change, Robustness
from training.augment import to_uint8
from training.dataset import Example, ReadFilm, read_film
from training.features import Progress
from training.film_checks import check_films
from training.metrics import share
from training.report.changes import CHANGES
from training.report.verdicts import give_verdicts
from worker.engine.base import Engine

STAGE: Final = "films changed"


def measure_robustness(
    engine: Engine, examples: Sequence[Example], split: str, progress: Progress, read: ReadFilm = read_film
) -> Robustness:
    """Return the share of films whose verdict differs, abstentions included, after each of `CHANGES`.

    Args:
        examples: the films of the split; their labels do not matter.
        split: its name in the report.

    Returns:
        A rate over the films for each change; `any_change` is over all pairs of film and change, those
        of a film as one group.

    Raises:
        DataProblem: a film cannot be read; raised before the first film is classified.
    """
    check_films(examples, read)
    flips = np.zeros((len(examples), len(CHANGES)), bool)
    for place, example in enumerate(examples):
        flips[place] = _flips(engine, read(example.path))
        progress(STAGE, place + 1, len(examples))
    groups = [example.group for example in examples]
    changes = [Change(name=name, flips=share(flips[:, place], groups)) for place, name in enumerate(CHANGES)]
    pairs = share(flips.ravel(), np.repeat(np.array(groups, dtype=object), len(CHANGES)))
    return Robustness(split=split, changes=changes, any_change=pairs)


def _flips(engine: Engine, pixels: Pixels) -> list[bool]:
    """Return, for each change of one film, whether the verdict differs. A 16-bit film is changed as its 8-bit copy."""
    grey = to_uint8(pixels)
    before, *after = give_verdicts(engine, [pixels, *(change(grey) for change in CHANGES.values())])
    return [verdict is not before for verdict in after]
