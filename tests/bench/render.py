"""RESULTS.md and the printed table from the results' JSON: no number is written by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.bench import stats
from tests.bench.goals import GOALS, Goal, Results
from tests.bench.plan import Kind
from tests.bench.stats import CEILING, DESIGNS, PLAINFILM, reported

COLUMNS = {
    "films_per_s": "films/s",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "cpu_ms_per_film": "CPU ms a film",
    "client_cpu_ms_per_film": "client's CPU ms",
    "rss_mb": "peak RSS MB",
}
RATIOS = {
    "throughput_vs_tutorial": "films/s, plainfilm's divided by the tutorial design's",
    "throughput_vs_tutorial_slow": "films/s, plainfilm's divided by the tutorial design's, asked every 0.5 s",
    "float32_throughput_vs_tutorial": "films/s, plainfilm's all in float32 divided by the tutorial design's",
    "throughput_vs_litserve": "films/s, plainfilm's divided by LitServe's",
    "cpu_vs_tutorial": "CPU a film, the tutorial design's divided by plainfilm's",
    "cpu_vs_tutorial_slow": "CPU a film, the tutorial design's, asked every 0.5 s, divided by plainfilm's",
    "float32_cpu_vs_tutorial": "CPU a film, the tutorial design's divided by plainfilm's all in float32",
    "share_of_ceiling": "films/s, plainfilm's divided by the in-process ceiling's",
}

RANGES_TEXT = """\
Ratios are of the medians over all rounds. In brackets are the least and the most of any round, each round's designs
compared with each other."""

DESIGN_TEXT = """\
* **plainfilm**: `plainfilm up` as it is, nothing set but its folder and port; SQLite, queue, audit trail and heatmap
  included. A client sends the raw body with `Prefer: wait=30` and polls only where the answer came before the verdict.
  Where the processor multiplies eight-bit integers, the network is computed in them behind its first rows; a second
  line shows the headline's loads with `PLAINFILM_PRECISION=f32`.
* **tutorial**: Flask and Celery as their documentation shows them (`tests/bench/peers/tutorial.py`): gunicorn, the film
  as base64 in the message, prefork pool of two, Redis as result backend, `model.predict` of Keras, decoded by Pillow in
  the worker, the client asks every 50 ms. Nothing is stored, no audit trail. Where 32 clients wait, this asking is
  a good part of its CPU: a second line shows the same with clients that ask every 0.5 s.
* **litserve**: LitServe (`tests/bench/peers/litserve_peer.py`) over plainfilm's OpenVINO graph, in the same arithmetic,
  film as raw body; no durable queue, nothing stored.
* **ceiling**: decode, preprocess, infer in a bare loop, one process a core (`tests/bench/peers/ceiling.py`).

All get the same bytes and give the same probabilities and a Grad-CAM map with them. Each start of each design is held
against the ceiling's answers in the same arithmetic first, and a run refuses to measure where a probability differs by
more than 0.001; Keras computes in float32. The tutorial design gets its map from the network's features without a
gradient, the cheapest way, and is spared plainfilm's input gate. Films are the project's sample blends, enlarged, each
with noise of its own; no load sends a film that the server has seen. Designs take turns, each with a fresh start each
round. CPU is that of the server's whole process tree, broker and decoder included, clients excluded; clients run on the
same cores. RSS is summed over processes, so shared pages count more than once; in PSS, read behind each load, they
count once. The ceiling has no clients: what it reached on a sort of film stands at each load of it."""


def markdown(results: Results) -> str:
    """The whole of RESULTS.md."""
    machine = results["machine"]
    parts = [
        "# Results",
        "Written by `make bench` from `results.json` beside it; not edited by hand. Ratios are what counts.",
        "The loads: " + _machine(machine),
        "## Headline: 32 clients, 1024 x 1024",
        table(["", "PNG", "JPEG"], _ratio_rows(results)),
        *([RANGES_TEXT] if stats.ratio_ranges(results.get("rows", [])) else []),
        "## Goals",
        table(["measure", "goal", "found", "reached"], [_goal_row(goal, results) for goal in GOALS]),
        f"## Every load: medians of {results['rounds']} rounds",
        *_films(results.get("films_a_round"), results.get("films_at_most", {})),
        table(["load", "design", *COLUMNS.values()], _load_rows(results["medians"])),
        "## Cold start: from the first process to the first answer, and the answer after that",
        table(["design", "first s", "second s"], _cold_rows(results["cold_start"])),
        "## Where plainfilm's CPU and memory go",
        _parts(results),
        *_scale(results.get("scale")),
        "## Designs",
        DESIGN_TEXT,
        "## Tuning",
        *(_tuning(name, tuned) for name, tuned in results["tuning"].items()),
    ]
    return "\n\n".join(parts) + "\n"


def printed(results: Results) -> str:
    """What the terminal shows at the end."""
    rows = [[row[0], row[1], *row[2:]] for row in _load_rows(results["medians"])]
    ratios = [[name, *values] for name, *values in _ratio_rows(results)]
    goals = [list(_goal_row(goal, results)) for goal in GOALS if goal.value(results) is not None]
    return "\n\n".join((
        _aligned([["load", "design", *COLUMNS.values()], *rows]),
        _aligned([["32 clients, 1024 x 1024", "PNG", "JPEG"], *ratios]),
        _aligned([["measure", "goal", "found", "reached"], *goals]),
    ))  # fmt: skip


def number(value: float | None) -> str:
    """Three significant digits, no exponent; a dash for what was not measured."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def _machine(machine: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}; load average before the run {machine['load_before']}.\n"
        f"{versions}.{_build(machine)}"
    )


def _build(machine: Mapping[str, Any]) -> str:
    """Which commit was measured; nothing where an older run did not say."""
    if "commit" not in machine:
        return ""
    changed = "with changes that are in no commit" if machine["is_dirty"] else "nothing changed since"
    return f"\nBuild: commit {machine['commit']}, {changed}."


def _films(counts: Mapping[str, int] | None, at_most: Mapping[str, int]) -> list[str]:
    """How many films each load sends in a round; nothing where an older run did not say."""
    if not counts:
        return []
    fewer = "".join(f"; {design} at most {most}" for design, most in at_most.items())
    return ["Films a round: " + ", ".join(f"{load} {count}" for load, count in counts.items()) + fewer + "."]


def _ratio_rows(results: Results) -> list[list[str]]:
    ratios, ranges = stats.ratios(results["medians"]), stats.ratio_ranges(results.get("rows", []))
    return [
        [text, *(_with_range(ratios[key], ranges.get(key)) for kind in Kind if (key := f"{name}_{kind.value}"))]
        for name, text in RATIOS.items()
    ]


def _with_range(value: float | None, found: tuple[float, float] | None) -> str:
    return number(value) + (f" ({number(found[0])} to {number(found[1])})" if found else "")


def _goal_row(goal: Goal, results: Results) -> list[str]:
    unit = f" {goal.unit}" if goal.unit and goal.unit != "x" else goal.unit
    reached = goal.reached(results)
    told = "not measured" if reached is None else "yes" if reached else "no"
    found = goal.value(results)
    limit = f"{'>=' if goal.is_floor else '<='} {number(goal.limit)}{unit}"
    return [goal.measure, limit, "-" if found is None else number(found) + unit, told]


def _load_rows(medians: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[list[str]]:
    return [
        [load, design, *(number(cells[design].get(measure)) for measure in COLUMNS)]
        for load, cells in medians.items()
        for design in DESIGNS
        if design in cells
    ]


def _cold_rows(cold: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    return [
        [design, number(cold[design]["first_s"]), number(cold[design]["second_s"])]
        for design in DESIGNS
        if design in cold
    ]


def _parts(results: Results) -> str:
    """Each part's share; PSS only where the run read it."""
    cpu = results["cpu_ms_by_part"].get(PLAINFILM, {})
    memory = results["rss_mb_by_part"].get(PLAINFILM, {})
    shared_once = results.get("pss_mb_by_part", {}).get(PLAINFILM)
    head = ["part", "CPU ms a film, PNG", "CPU ms a film, JPEG", "peak RSS MB", *(["PSS MB"] if shared_once else [])]
    rows = [
        [
            part,
            *(number(cpu.get(reported(kind), {}).get(part)) for kind in Kind),
            number(memory.get(part)),
            *([number(shared_once.get(part))] if shared_once else []),
        ]
        for part in sorted(memory)
    ]
    return table(head, rows)


def _tuning(name: str, tuned: Mapping[str, Any]) -> str:
    if not tuned["trials"]:
        return f"**{name}**: taken as found best before: `{_words(tuned['chosen'])}`."
    rows = [
        [f"`{_words(trial['setting'])}`", *(number(value) for value in trial["films_per_s"].values())]
        for trial in tuned["trials"]
    ]
    head = ["setting", *(f"films/s, {sort}" for sort in tuned["trials"][0]["films_per_s"])]
    what = "what a bare loop does best" if name == CEILING else "32 clients, each setting on a fresh start"
    return f"**{name}** ({what}; the best is taken: `{_words(tuned['chosen'])}`)\n\n{table(head, rows)}"


def _words(setting: Mapping[str, Any]) -> str:
    return json.dumps(setting)[1:-1].replace('"', "")


def _scale(found: Mapping[str, Any] | None) -> list[str]:
    if not found:
        return []
    machine = found.get("machine")
    rows = [[name, number(value)] for name, value in _flat("", {**found, "machine": None})]
    return [
        "## Long tables and many workers (`make bench-scale`)",
        *(["The long tables: " + _machine(machine)] if machine else []),
        table(["measure", "value"], rows),
    ]


def _flat(above: str, found: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    for name, value in found.items():
        if isinstance(value, dict):
            yield from _flat(f"{above}{name} ", value)
        elif isinstance(value, int | float):
            yield f"{above}{name}", float(value)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
