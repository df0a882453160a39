"""The films that harm a worker are known after any preprocessing, and no others are."""

from __future__ import annotations

import os
import subprocess
import time

import numpy as np
import pytest

from shared.arrays import FloatArray
from shared.imaging.decode import decode
from shared.imaging.preprocess import PREPROCESSINGS, prepare
from tests.chaos.hazards import CLOCK_S, Hazard, make_film, recognise
from tests.factories import make_pixels, make_png

SHAPE = (224, 224, 1)


def batch(film: bytes, preprocessing: str) -> FloatArray:
    """One film as the worker would give it to its engine."""
    return prepare(decode(film).pixels, preprocessing, SHAPE).values[np.newaxis]


@pytest.mark.parametrize("preprocessing", list(PREPROCESSINGS))
@pytest.mark.parametrize("hazard", list(Hazard))
def test_a_harmful_film_is_known(hazard: Hazard, preprocessing: str) -> None:
    """Its own hazard and no other."""
    assert recognise(batch(make_film(hazard), preprocessing)) == {hazard}


@pytest.mark.parametrize("preprocessing", list(PREPROCESSINGS))
def test_other_films_are_harmless(preprocessing: str) -> None:
    """Drawn ones, and the zeros of a warm-up."""
    drawn = [batch(make_png(pixels=make_pixels(height_px=48, width_px=48, seed=n)), preprocessing) for n in range(20)]
    assert recognise(np.concatenate([*drawn, np.zeros((1, *SHAPE), np.float32)])) == set()


def test_a_clock_is_off_as_told(python: str) -> None:
    """`time.time` and `datetime.now` of a process of its own, by three days."""
    code = (
        "from tests.chaos.hazards import shift_clock; shift_clock()\n"
        "import time; from datetime import UTC, datetime\n"
        "print(time.time(), datetime.now(UTC).timestamp())"
    )
    environment = {**os.environ, CLOCK_S: str(3 * 86400)}
    told = subprocess.run([python, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
    assert [float(moment) - time.time() for moment in told.split()] == pytest.approx([3 * 86400] * 2, abs=60)
