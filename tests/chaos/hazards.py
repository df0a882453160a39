"""What may befall a worker of a trial: a film that kills it, one that eats its memory, and a clock that is wrong.

Both films are half black and half white, which no drawn film is, and stay so through resizing, windowing and an
inversion. Called by the stand-in engine and by `entry`.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import gc
import os
import signal
import time
from enum import StrEnum

import numpy as np

from shared.arrays import FloatArray
from tests.factories import make_png

CLOCK_S = "CHAOS_CLOCK_S"
"""By how many seconds every clock that Python code of a worker reads is off."""

HOG_BYTES = 1 << 30
SIDE_PX = 48
CLEAR = 0.9
"""Means of the outer thirds differ by more than this."""


class Hazard(StrEnum):
    """What such a film does."""

    KILL = "kill"
    HOG = "hog"


def make_film(hazard: Hazard) -> bytes:
    """A PNG whose left half is black and right half white, or the same from top to bottom."""
    pixels = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    pixels[:, SIDE_PX // 2 :] = 255
    return make_png(pixels=pixels if hazard is Hazard.KILL else pixels.T)


def recognise(x: FloatArray) -> set[Hazard]:
    """The hazards among inputs x: (N, H, W, C) float32 in [0, 1]."""
    found = set()
    for hazard, axis in ((Hazard.KILL, 2), (Hazard.HOG, 1)):
        first, _, last = np.array_split(x, 3, axis=axis)
        if (np.abs(first.mean(axis=(1, 2, 3)) - last.mean(axis=(1, 2, 3))) > CLEAR).any():
            found.add(hazard)
    return found


def befall(x: FloatArray) -> None:
    """End this process, or take `HOG_BYTES` of memory, where one of the inputs is such a film."""
    found = recognise(x)
    if Hazard.KILL in found:
        os.kill(os.getpid(), signal.SIGKILL)
    if Hazard.HOG in found:
        np.ones(HOG_BYTES, np.uint8).sum()


def shift_clock() -> None:
    """Let the clocks that Python code reads be off by CHAOS_CLOCK_S; the kernel's and the database's are not.

    `datetime.now` is changed in the type itself: a subclass in its place would be strange to pydantic and SQLAlchemy.
    """
    offset_s = float(os.environ.get(CLOCK_S, "0"))
    if not offset_s:
        return
    told, told_now = time.time, dt.datetime.now
    time.time = lambda: told() + offset_s
    (members,) = gc.get_referents(dt.datetime.__dict__)
    members["now"] = classmethod(lambda _cls, tz=None: told_now(tz) + dt.timedelta(seconds=offset_s))
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(dt.datetime))
