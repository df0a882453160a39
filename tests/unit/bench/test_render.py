"""What is written and printed: `tests/bench/render.py`, `goals.py`, `store.py`."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.bench import machine, render, stats, store
from tests.bench.goals import GOALS
from tests.bench.plan import Kind

TRIAL = {"setting": {"workers": 2}, "films_per_s": {"png-1024": 50.0}}


def results() -> dict[str, Any]:  # Any: JSON
    """A run that measured the reported loads only."""
    speeds = {"plainfilm": 40.0, "tutorial": 8.0, "litserve": 50.0, "ceiling": 60.0}
    rows = [
        {
            "load": stats.reported(kind),
            "design": name,
            "measures": {"films_per_s": speed, "cpu_ms_per_film": 800 / speed},
        }
        for kind in Kind
        for name, speed in speeds.items()
    ]  # fmt: skip
    medians = stats.medians(rows)
    return {
        "machine": {
            "date": "2026-11-27", "cpu": "A processor", "cores": 2, "memory_gib": 8.0, "system": "Linux",
            "python": "3.12.1", "load_before": 0.1, "versions": {"celery": "5.7.0"},
        },
        "rounds": 5,
        "ratios": stats.ratios(medians),
        "medians": medians,
        "cold_start": {"plainfilm": {"first_s": 2.5, "second_s": 0.2}},
        "cpu_ms_by_part": {"plainfilm": {stats.reported(Kind.PNG): {"web": 5.0}}},
        "rss_mb_by_part": {"plainfilm": {"web": 120.0, "all": 500.0}},
        "again_ms": None,
        "tuning": {
            "litserve": {"chosen": {"workers": 2}, "trials": [TRIAL]},
            "tutorial": {"chosen": {"threads": 1}, "trials": []},
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (1234.5, "1,234"), (64.44, "64.4"), (2.218, "2.22"), (0.0123, "0.012"), (5, "5.00")],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    """No exponent, and a dash where nothing was measured."""
    assert render.number(value) == text


def test_markdown_tells_the_machine_the_ratios_and_the_tuning() -> None:
    """All of it from the JSON."""
    text = render.markdown(results())
    assert "2026-11-27, A processor, 2 cores" in text
    assert "| films/s, plainfilm's divided by the tutorial design's | 5.00 | 5.00 |" in text
    assert "the tutorial design's divided by plainfilm's" in text
    assert "| png-1024-32 | litserve | 50.0 |" in text
    assert "`workers: 2`" in text
    assert "taken as found best before: `threads: 1`" in text


def test_markdown_tells_which_build_which_films_and_how_far_rounds_differ() -> None:
    """Of the loads and of the long tables, each with its own date and machine; a dash where nobody asked less often."""
    found = results()
    found["machine"] |= {"commit": "0123abc", "is_dirty": False}
    later = {**found["machine"], "date": "2026-11-28", "cpu": "Another", "is_dirty": True}
    rows = [
        {"round": number, "load": stats.reported(Kind.PNG), "design": name, "measures": {"films_per_s": speed}}
        for number, speeds in enumerate([(40.0, 10.0), (42.0, 7.0)])
        for name, speed in zip(("plainfilm", "tutorial"), speeds, strict=True)
    ]
    text = render.markdown({
        **found, "rows": rows, "films_a_round": {"png-1024-32": 384}, "films_at_most": {"tutorial": 128},
        "scale": {"machine": later, "queued": 5},
    })  # fmt: skip
    assert "Build: commit 0123abc, nothing changed since." in text
    assert "The long tables: 2026-11-28, Another" in text
    assert "Build: commit 0123abc, with changes that are in no commit." in text
    assert "Films a round: png-1024-32 384; tutorial at most 128." in text
    assert "| films/s, plainfilm's divided by the tutorial design's | 5.00 (4.00 to 6.00) | 5.00 |" in text
    assert "| films/s, plainfilm's divided by the tutorial design's, asked every 0.5 s | - | - |" in text
    assert "| machine cores |" not in text


def test_what_an_older_run_did_not_say_is_left_out() -> None:
    """No build, no films a round, no spread is made up."""
    text = render.markdown(results())
    assert "Build:" not in text
    assert "Films a round" not in text
    assert "in brackets" not in text
    assert "| web | 5.00 | - | 120 |\n" in text


def test_memory_stands_beside_what_is_left_of_it_where_shared_pages_count_once() -> None:
    """The decoder and its children are one library mapped three times."""
    text = render.markdown({**results(), "pss_mb_by_part": {"plainfilm": {"web": 90.0, "all": 400.0}}})
    assert "| web | 5.00 | - | 120 | 90.0 |" in text
    assert "| all | - | - | 500 | 400 |" in text


def test_a_build_is_a_commit_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    """Nothing outside a repository."""
    assert machine.build(tmp_path) == {}
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run([*git, "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], cwd=tmp_path, check=True)
    found = machine.build(tmp_path)
    assert re.fullmatch("[0-9a-f]{40,64}", found["commit"])
    assert not found["is_dirty"]
    (tmp_path / "new").touch()
    assert machine.build(tmp_path) == {**found, "is_dirty": True}


def test_goals_say_whether_they_were_reached() -> None:
    """Reached, missed, or not measured."""
    text = render.markdown(results())
    assert "| films/s against the tutorial design, PNG | >= 5.00x | 5.00x | yes |" in text
    assert "| films/s against LitServe, PNG | >= 1.00x | 0.800x | no |" in text
    assert "| the same film again | <= 10.0 ms | - | not measured |" in text
    assert text.count("not measured") >= 5


def test_goals_of_an_empty_run_are_all_not_measured() -> None:
    """None fails on what is absent."""
    empty = {"ratios": {}, "medians": {}, "cold_start": {}, "rss_mb_by_part": {}}
    assert all(goal.reached(empty) is None for goal in GOALS)


def test_printed_table_has_no_goal_that_was_not_measured() -> None:
    """The terminal shows what was found."""
    text = render.printed(results())
    assert "not measured" not in text
    assert re.search(r"^png-1024-32 +plainfilm +40\.0 ", text, re.MULTILINE)


def test_runs_and_long_tables_share_one_file(tmp_path: Path) -> None:
    """Neither takes the other's numbers away, and the Markdown has both."""
    store.write_scale(tmp_path, {"sqlite": {"claim_p99_ms": 4.0}})
    store.write_run(tmp_path, results())
    assert store.read(tmp_path)["scale"] == {"sqlite": {"claim_p99_ms": 4.0}}
    store.write_scale(tmp_path, {"sqlite": {"claim_p99_ms": 40.0}})
    kept = json.loads((tmp_path / store.NAME).read_text(encoding="utf-8"))
    assert kept["ratios"] == results()["ratios"]
    text = (tmp_path / store.TEXT).read_text(encoding="utf-8")
    assert "| claim with 100,000 queued, p99, SQLite | <= 10.0 ms | 40.0 ms | no |" in text
    assert "| sqlite claim_p99_ms | 40.0 |" in text


def test_the_committed_results_are_rendered_from_their_json() -> None:
    """RESULTS.md is what the code makes of results.json, where a full run was committed."""
    found = store.read(store.HERE)
    text = store.HERE / store.TEXT
    assert text.exists() == ("medians" in found)
    assert "medians" not in found or text.read_text(encoding="utf-8") == render.markdown(found)
