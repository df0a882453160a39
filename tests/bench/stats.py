"""The pure sums of a run: percentiles, medians over rounds, ratios."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from tests.bench.plan import REPORTED_CLIENTS, REPORTED_SIDE_PX, Kind

PLAINFILM, TUTORIAL, LITSERVE, CEILING = "plainfilm", "tutorial", "litserve", "ceiling"
TUTORIAL_SLOW = "tutorial, asked every 0.5 s"
"""The tutorial design with clients that ask less often."""

PLAINFILM_FLOAT32 = "plainfilm, all in float32"
"""With `PLAINFILM_PRECISION=f32`."""

PLAINFILM_COMPUTED = "plainfilm, nothing from its store"

DESIGNS = (PLAINFILM, PLAINFILM_FLOAT32, TUTORIAL, TUTORIAL_SLOW, LITSERVE, CEILING)

HEADLINE = (
    ("throughput_vs_tutorial", "films_per_s", PLAINFILM, TUTORIAL),
    ("throughput_vs_tutorial_slow", "films_per_s", PLAINFILM, TUTORIAL_SLOW),
    ("throughput_vs_litserve", "films_per_s", PLAINFILM, LITSERVE),
    ("float32_throughput_vs_tutorial", "films_per_s", PLAINFILM_FLOAT32, TUTORIAL),
    ("cpu_vs_tutorial", "cpu_ms_per_film", TUTORIAL, PLAINFILM),
    ("cpu_vs_tutorial_slow", "cpu_ms_per_film", TUTORIAL_SLOW, PLAINFILM),
    ("float32_cpu_vs_tutorial", "cpu_ms_per_film", TUTORIAL, PLAINFILM_FLOAT32),
    ("share_of_ceiling", "films_per_s", PLAINFILM, CEILING),
)
"""Each ratio: its name, the measure, whose is divided, and by whose."""

Row = Mapping[str, Any]  # Any: a row of the JSON
Table = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Medians: load to design to measure to value."""


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value with at least `share` of all at or below it."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def medians(rows: Iterable[Row]) -> dict[str, dict[str, dict[str, float]]]:
    """Rows with 'load', 'design' and measures to the median of each measure over the rounds."""
    gathered: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row in rows:
        cell = gathered.setdefault(row["load"], {}).setdefault(row["design"], {})
        for name, value in row["measures"].items():
            cell.setdefault(name, []).append(value)
    return {
        load: {
            design: {name: median(values) for name, values in measures.items()} for design, measures in designs.items()
        }
        for load, designs in gathered.items()
    }


def median_measures(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """Rows with 'design' and measures, of no load, to medians by design."""
    one = medians({**row, "load": ""} for row in rows)
    return one.get("", {})


def ratios(table: Table) -> dict[str, float | None]:
    """The headline: plainfilm beside each peer at 32 clients and 1024 x 1024; None where it was not measured.

    Throughput is plainfilm's films a second divided by the peer's. CPU is the tutorial's CPU a film divided by
    plainfilm's. The share of the ceiling is plainfilm's films a second divided by the bare loop's.
    """
    return {
        f"{name}_{kind.value}": ratio(table, reported(kind), measure, above, below)
        for name, measure, above, below in HEADLINE
        for kind in Kind
    }


def ratio_ranges(rows: Sequence[Row]) -> dict[str, tuple[float, float]]:
    """The least and the most of each headline ratio over the rounds, each round's designs compared with each other.

    A ratio is left out where no round says both of its sides.
    """
    rounds = sorted({row["round"] for row in rows if row.get("round") is not None})
    found: dict[str, list[float]] = {}
    for number in rounds:
        for name, value in ratios(medians(row for row in rows if row.get("round") == number)).items():
            if value is not None:
                found.setdefault(name, []).append(value)
    return {name: (min(values), max(values)) for name, values in found.items()}


def reported(kind: Kind, clients: int = REPORTED_CLIENTS) -> str:
    """The name of the load that is reported."""
    return f"{kind.value}-{REPORTED_SIDE_PX}-{clients}"


def ratio(table: Table, load: str, measure: str, above: str, below: str) -> float | None:
    """One design's measure divided by another's, or None."""
    cells = table.get(load, {})
    try:
        return cells[above][measure] / cells[below][measure]
    except (KeyError, ZeroDivisionError):
        return None
