"""Sums of a run: `tests/bench/stats.py`."""

from __future__ import annotations

import math

import pytest

from tests.bench import stats
from tests.bench.plan import Kind

HEADLINE = {
    "throughput_vs_tutorial_png", "throughput_vs_tutorial_jpeg", "throughput_vs_litserve_png",
    "throughput_vs_litserve_jpeg", "cpu_vs_tutorial_png", "cpu_vs_tutorial_jpeg", "share_of_ceiling_png",
    "share_of_ceiling_jpeg", "throughput_vs_tutorial_slow_png", "throughput_vs_tutorial_slow_jpeg",
    "cpu_vs_tutorial_slow_png", "cpu_vs_tutorial_slow_jpeg",
    "float32_throughput_vs_tutorial_png", "float32_throughput_vs_tutorial_jpeg", "float32_cpu_vs_tutorial_png",
    "float32_cpu_vs_tutorial_jpeg",
}  # fmt: skip


def row(load: str, design: str, films_per_s: float, cpu_ms: float) -> stats.Row:
    """One cell of one round."""
    return {
        "load": load,
        "design": design,
        "measures": {"films_per_s": films_per_s, "cpu_ms_per_film": cpu_ms},
    }  # fmt: skip


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2.0), (0.75, 3.0), (0.99, 4.0), (0.01, 1.0)])
def test_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    """It is a value that was seen."""
    assert stats.percentile([4.0, 1.0, 3.0, 2.0], share) == expected


def test_percentile_of_nothing_is_no_number() -> None:
    """Nothing was measured."""
    assert math.isnan(stats.percentile([], 0.5))


def test_medians_are_taken_over_rounds() -> None:
    """One slow round does not move them."""
    rows = [row("png-1024-32", "plainfilm", speed, 20) for speed in (50, 10, 60)]
    assert stats.medians(rows) == {"png-1024-32": {"plainfilm": {"films_per_s": 50, "cpu_ms_per_film": 20}}}


def test_medians_keep_loads_and_designs_apart() -> None:
    """Each has its own cell."""
    found = stats.medians([row("a", "plainfilm", 1, 1), row("a", "tutorial", 2, 2), row("b", "plainfilm", 3, 3)])
    assert found["a"]["tutorial"]["films_per_s"] == 2
    assert found["b"]["plainfilm"]["films_per_s"] == 3
    assert "tutorial" not in found["b"]


def test_median_measures_need_no_load() -> None:
    """Cold starts belong to a design alone."""
    rows = [{"design": "plainfilm", "measures": {"first_s": value}} for value in (3.0, 1.0, 2.0)]
    assert stats.median_measures(rows) == {"plainfilm": {"first_s": 2.0}}
    assert stats.median_measures([]) == {}


def test_ratios_have_the_agreed_names_and_directions() -> None:
    """Throughput and share are ours over theirs, CPU is theirs over ours: more is better in all of them."""
    cells = {"plainfilm": (40, 10), "plainfilm, all in float32": (32, 12.5), "tutorial": (8, 50),
             "tutorial, asked every 0.5 s": (10, 30), "litserve": (20, 12), "ceiling": (80, 9)}  # fmt: skip
    table = stats.medians(row(stats.reported(kind), name, *cell) for kind in Kind for name, cell in cells.items())
    found = stats.ratios(table)
    assert found.keys() == HEADLINE
    assert found["throughput_vs_tutorial_png"] == 5
    assert found["throughput_vs_tutorial_slow_png"] == 4
    assert found["float32_throughput_vs_tutorial_png"] == 4
    assert found["throughput_vs_litserve_jpeg"] == 2
    assert found["cpu_vs_tutorial_png"] == 5
    assert found["cpu_vs_tutorial_slow_jpeg"] == 3
    assert found["float32_cpu_vs_tutorial_jpeg"] == 4
    assert found["share_of_ceiling_jpeg"] == 0.5


def test_ranges_compare_the_designs_of_one_round() -> None:
    """A machine that is slow in one round is so for both; what no round says of both has none."""
    load = stats.reported(Kind.PNG)
    rows = [
        {**row(load, name, speed, 10), "round": number}
        for name, speeds in {"plainfilm": (40, 10, 30), "tutorial": (8, 2, 5)}.items()
        for number, speed in enumerate(speeds)
    ]
    found = stats.ratio_ranges([*rows, row(load, "ceiling", 50, 10)])
    assert found["throughput_vs_tutorial_png"] == (5, 6)
    assert "share_of_ceiling_png" not in found
    assert stats.ratio_ranges([]) == {}


def test_ratios_of_what_was_not_measured_are_none() -> None:
    """No number is made up."""
    assert stats.ratios({}) == dict.fromkeys(HEADLINE)
