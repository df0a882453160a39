"""A run from films to results: round by round, each design on a fresh start, one after the other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import agree, films, machine, measure, stats, tune
from tests.bench.designs import Design, Server, Setting, all_servers
from tests.bench.measure import Films, Json
from tests.bench.plan import Kind, Load, Plan
from tests.bench.stats import CEILING, PLAINFILM, TUTORIAL, TUTORIAL_SLOW
from worker.engine.choose import Precision

Say = Callable[[str], None]
SEED = 1

HEADLINE_LOADS = frozenset(stats.reported(kind) for kind in Kind)


@dataclass(slots=True)
class Notes:
    """What was found so far: rows of loads and of cold starts, and how far each design was from the reference."""

    rows: list[Json] = field(default_factory=list)
    cold: list[Json] = field(default_factory=list)
    agreement: dict[str, float] = field(default_factory=dict)
    again_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Bench:
    """A run's films, where its servers keep their state, and the settings of its peers."""

    plan: Plan
    films: Films
    folder: Path
    say: Say
    reference: Mapping[Precision | None, Sequence[dict[str, float]]]

    @property
    def designs(self) -> Sequence[Design]:
        """All servers of this run."""
        return all_servers(is_full=self.plan.is_full)


def run(plan: Plan, folder: Path, say: Say) -> Json:
    """Everything.

    Returns:
        The results as they are written.

    Raises:
        Unequal: the designs do not do the same work.
    """
    described = machine.describe()
    started = time.monotonic()
    made = films.make_all(folder / "films", plan.films, SEED)
    say(f"{sum(map(len, made.values()))} films made in {time.monotonic() - started:.0f} s")
    arithmetics = {design.precision for design in all_servers(is_full=plan.is_full)}
    reference = {precision: measure.reference_answers(made, precision) for precision in arithmetics}
    bench = Bench(plan, made, folder, say, reference)
    notes = Notes()
    tuning = _tune(bench)
    for number in range(plan.rounds):
        for design in bench.designs:
            _turn(bench, design, tuning[design.name]["chosen"], number, notes)
        _ceiling_turn(bench, tuning[CEILING]["chosen"], number, notes)
    return {
        "machine": described,
        "rounds": plan.rounds,
        "films_a_round": {load.name: load.films for load in plan.loads},
        "films_at_most": {design.name: design.most_films for design in bench.designs if design.most_films},
        "took_s": round(time.monotonic() - started),
        **summary(notes),
        "heatmap_cost": measure.heatmap_cost(),
        "tuning": tuning,
        "rows": notes.rows,
    }


def summary(notes: Notes) -> Json:
    """Medians and ratios of what was noted."""
    medians = stats.medians(notes.rows)
    return {
        "ratios": stats.ratios(medians),
        "medians": medians,
        "cold_start": stats.median_measures(notes.cold),
        "cpu_ms_by_part": _cpu_by_part(notes.rows),
        "rss_mb_by_part": _peaks(notes.rows, "rss_mb_by_part"),
        "pss_mb_by_part": _peaks(notes.rows, "pss_mb_by_part"),
        "again_ms": stats.percentile(notes.again_ms, 0.5) if notes.again_ms else None,
        "agreement": notes.agreement,
    }


def _tune(bench: Bench) -> dict[str, Any]:
    cores = os.cpu_count() or 1
    chosen = {design.name: _untuned(design.settings[0]) for design in bench.designs}
    chosen[CEILING] = _untuned(tune.CEILING_SETTINGS[0])
    if not bench.plan.is_full:
        return chosen
    large = {sort: paths for sort, paths in bench.films.items() if sort.side_px == max(s.side_px for s in bench.films)}
    for design in bench.designs:
        if len(design.settings) > 1:
            bench.say(f"tuning {design.name}: {len(design.settings)} settings")
            chosen[design.name] = _tuned(tune.tune(design, large, bench.folder / "tuning"))
    chosen[CEILING] = _tuned(tune.tune_ceiling(large, cores))
    return chosen


def _untuned(setting: Setting) -> Json:
    return {"chosen": dict(setting), "trials": []}


def _tuned(trials: Sequence[tune.Trial]) -> Json:
    return {"chosen": dict(tune.best(trials).setting), "trials": [trial.to_json() for trial in trials]}


def _turn(bench: Bench, design: Design, setting: Setting, number: int, notes: Notes) -> None:
    """One design in one round: nothing is measured before it agrees with the reference."""
    plan, made = bench.plan, bench.films
    started = time.monotonic()
    with measure.running(design, setting, bench.folder / f"{design.name}-{number}") as server:
        cold = measure.cold_start(server, started, next(iter(made.values()))[:2])
        measure.settle(server)
        answers = [measure.ask(server, path) for path in measure.agreement_films(made)]
        notes.agreement[design.name] = agree.check(bench.reference[design.precision], design.name, answers)
        notes.cold.append(
            {"design": design.name, "measures": {"first_s": cold.first_s, "second_s": cold.second_s}}
        )  # fmt: skip
        if design.name == PLAINFILM:
            notes.again_ms.append(measure.again_ms(server, next(iter(made.values()))[0]))
        measure.send(server, measure.warm_films(made, plan), 8)
        for load in _loads(plan, design):
            paths = measure.films_of(load, made, plan)[: design.most_films]
            found = measure.send(server, paths, load.clients)
            notes.rows.append({"round": number, "load": load.name, "design": design.name, **found})
            speed = found["measures"]["films_per_s"]
            bench.say(f"round {number + 1}  {design.name:<9}  {load.name:<13}  {speed:6.1f} films/s")
        if plan.is_full and design.name == TUTORIAL:
            _ask_less_often(bench, design, server, number, notes)


def _loads(plan: Plan, design: Design) -> list[Load]:
    """Those that the design is measured at."""
    return [load for load in plan.loads if not design.is_aside or load.name in HEADLINE_LOADS]


def _ask_less_often(bench: Bench, design: Design, server: Server, number: int, notes: Notes) -> None:
    """Polling costs the tutorial design CPU where many wait; so that this is seen, the reported loads once more."""
    for load in bench.plan.loads:
        if load.name in HEADLINE_LOADS:
            paths = measure.films_of(load, bench.films, bench.plan)[: design.most_films]  # it stores none: the same do
            found = measure.send(server, paths, load.clients, TUTORIAL_SLOW)
            notes.rows.append({"round": number, "load": load.name, "design": TUTORIAL_SLOW, **found})


def _ceiling_turn(bench: Bench, setting: Setting, number: int, notes: Notes) -> None:
    """The bare loop has no clients: what it reached on a sort of film stands beside each load of that sort."""
    plan = bench.plan
    for sort in bench.films:
        loads = [load for load in plan.loads if load.sort == sort]
        longest = max(loads, key=lambda load: load.films)
        paths = measure.films_of(longest, bench.films, plan)
        found = measure.run_ceiling(paths, os.cpu_count() or 1, setting["batch"])
        notes.rows += [{"round": number, "load": load.name, "design": CEILING, "measures": found} for load in loads]
        bench.say(f"           {CEILING:<9}  {sort.name:<13}  {found['films_per_s']:6.1f} films/s")


def _cpu_by_part(rows: Sequence[Json]) -> dict[str, Any]:
    """CPU ms a film of each design's parts at the reported loads: medians over the rounds."""
    inner = [
        {"load": row["design"], "design": row["load"], "measures": row["cpu_ms_per_film_by_part"]}
        for row in rows
        if row["load"] in HEADLINE_LOADS and "cpu_ms_per_film_by_part" in row
    ]
    return stats.medians(inner)


def _peaks(rows: Sequence[Json], measure: str) -> dict[str, dict[str, float]]:
    """The most memory that each part of each design had in any load, and the whole of it at once."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        parts = found.setdefault(row["design"], {})
        for part, size in row.get(measure, {}).items():
            parts[part] = max(parts.get(part, 0.0), size)
    return found
