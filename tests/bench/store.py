"""Where results lie: `results.json`, and RESULTS.md made from it. `make bench` and `make bench-scale` share one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.bench import render

Json = dict[str, Any]  # Any: JSON

HERE = Path(__file__).resolve().parent
QUICK = HERE.parents[1] / "var" / "bench"
NAME, TEXT = "results.json", "RESULTS.md"
SCALE = "scale"


def read(folder: Path) -> Json:
    """What an earlier run left; empty where none did."""
    path = folder / NAME
    found: Json = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def write_run(folder: Path, results: Json) -> None:
    """A new run beside the long tables of an earlier one."""
    earlier = read(folder).get(SCALE)
    _write(folder, {**results, SCALE: earlier} if earlier else results)


def write_scale(folder: Path, found: Json) -> None:
    """Long tables beside an earlier run."""
    _write(folder, {**read(folder), SCALE: found})


def _write(folder: Path, results: Json) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if "medians" in results:
        (folder / TEXT).write_text(render.markdown(results), encoding="utf-8")
