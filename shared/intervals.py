"""Confidence intervals of measured shares. Pure; called by `training` and by the pages."""

from __future__ import annotations

import math
from typing import Final

Z_95: Final = 1.959963984540054
"""The normal distribution's 97.5 % quantile."""


def wilson_interval(p: float, n: float) -> tuple[float, float]:
    """Return the ends of the 95 % score interval (Wilson 1927) of the share p of n films; n may be a fraction.

    centre = (p + z^2 / 2n) / (1 + z^2 / n), half width = z / (1 + z^2 / n) * sqrt(p (1 - p) / n + z^2 / 4n^2).
    """
    square = Z_95**2 / n
    centre = (p + square / 2) / (1 + square)
    half = math.sqrt(p * (1 - p) * square + square**2 / 4) / (1 + square)
    return max(0.0, centre - half), min(1.0, centre + half)
