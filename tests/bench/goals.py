"""The goals of the design, each with the rule that tells from the results whether it was reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.bench import stats
from tests.bench.plan import Kind
from tests.bench.stats import PLAINFILM, TUTORIAL, reported

Results = Mapping[str, Any]  # Any: the JSON
Value = float | None


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table.

    Attributes:
        limit: at least this, or at most.
        value: reads it from the results; None where it was not measured.
        unit: behind the number.
    """

    measure: str
    is_floor: bool
    limit: float
    unit: str
    value: Callable[[Results], Value]

    def reached(self, results: Results) -> bool | None:
        """Whether; None where it was not measured."""
        found = self.value(results)
        if found is None:
            return None
        return found >= self.limit if self.is_floor else found <= self.limit


def _headline(name: str) -> Callable[[Results], Value]:
    return lambda results: results["ratios"].get(name)


def _inverse(name: str) -> Callable[[Results], Value]:
    def read(results: Results) -> Value:
        found = results["ratios"].get(name)
        return 1 / found if found else None

    return read


def _latency(kind: Kind, clients: int, measure: str) -> Callable[[Results], Value]:
    return lambda results: stats.ratio(results["medians"], reported(kind, clients), measure, PLAINFILM, TUTORIAL)


def _cold(measure: str) -> Callable[[Results], Value]:
    return lambda results: results["cold_start"].get(PLAINFILM, {}).get(measure)


def _memory(*parts: str) -> Callable[[Results], Value]:
    def read(results: Results) -> Value:
        peaks = results["rss_mb_by_part"].get(PLAINFILM, {})
        return sum(peaks[part] for part in parts) if all(part in peaks for part in parts) else None

    return read


def _scale(*path: str) -> Callable[[Results], Value]:
    def read(results: Results) -> Value:
        found: Any = results.get("scale", {})
        for step in path:
            found = found.get(step) if isinstance(found, dict) else None
        return found

    return read


GOALS = (
    Goal("films/s against the tutorial design, PNG", True, 5, "x", _headline("throughput_vs_tutorial_png")),
    Goal("films/s against the tutorial design, JPEG", True, 10, "x", _headline("throughput_vs_tutorial_jpeg")),
    Goal("CPU a film, share of the tutorial design's, PNG", False, 1 / 5, "", _inverse("cpu_vs_tutorial_png")),
    Goal("CPU a film, share of the tutorial design's, JPEG", False, 1 / 7, "", _inverse("cpu_vs_tutorial_jpeg")),
    Goal("films/s against LitServe, PNG", True, 1, "x", _headline("throughput_vs_litserve_png")),
    Goal("films/s against LitServe, JPEG", True, 1, "x", _headline("throughput_vs_litserve_jpeg")),
    Goal("share of the in-process ceiling, PNG", True, 0.75, "", _headline("share_of_ceiling_png")),
    Goal("share of the in-process ceiling, JPEG", True, 0.65, "", _headline("share_of_ceiling_jpeg")),
    Goal("p50 at one client, share of the tutorial's, PNG", False, 1 / 5, "", _latency(Kind.PNG, 1, "p50_ms")),
    Goal("p50 at one client, share of the tutorial's, JPEG", False, 1 / 5, "", _latency(Kind.JPEG, 1, "p50_ms")),
    Goal("p99 at 8 clients, share of the tutorial's, PNG", False, 1 / 3, "", _latency(Kind.PNG, 8, "p99_ms")),
    Goal("p99 at 8 clients, share of the tutorial's, JPEG", False, 1 / 3, "", _latency(Kind.JPEG, 8, "p99_ms")),
    Goal("network's CPU with Grad-CAM against without", False, 1.15, "x", lambda results: results.get("heatmap_cost")),
    Goal("queue's CPU a film, client and worker", False, 1.5, "ms", _scale("queue", "client_and_worker_ms")),
    Goal("`plainfilm up` to the first verdict", False, 3, "s", _cold("first_s")),
    Goal("the verdict after that", False, 0.08, "s", _cold("second_s")),
    Goal("memory of the worker", False, 350, "MB", _memory("worker")),
    Goal("memory of web and decoder", False, 200, "MB", _memory("web", "decoder")),
    Goal("memory of all of `plainfilm up`", False, 600, "MB", _memory("all")),
    Goal("memory over 10,000 films, growth a 1,000", False, 1, "MB",
         _scale("growth_mb_per_1000_films", "all")),
    Goal("claim with 100,000 queued, p99, SQLite", False, 10, "ms", _scale("sqlite", "claim_p99_ms")),
    Goal("claim with 100,000 queued, p99, PostgreSQL", False, 10, "ms", _scale("postgresql", "claim_p99_ms")),
    Goal("list page of 1,000,000 jobs, p99, SQLite", False, 50, "ms", _scale("sqlite", "list_p99_ms")),
    Goal("list page of 1,000,000 jobs, p99, PostgreSQL", False, 50, "ms", _scale("postgresql", "list_p99_ms")),
    Goal("16 simulated workers on one PostgreSQL against one", True, 15, "x", _scale("workers", "speedup_16")),
    Goal("a `stat` film behind 10,000 `bulk` ones starts after", False, 1, "s", _scale("stat_behind_bulk_s")),
    Goal("the same film again", False, 10, "ms", lambda results: results.get("again_ms")),
)  # fmt: skip
