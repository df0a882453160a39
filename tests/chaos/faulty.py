"""Kills or stops a process at a named point: the first that reaches what is written in the file CHAOS_FAULT_FILE.

Workers arm themselves in `entry`; web processes by gunicorn's hook below, which GUNICORN_CMD_ARGS names
(`--config=python:tests.chaos.faulty`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from shared import faults
from shared.faults import Fault

FAULT_FILE = "CHAOS_FAULT_FILE"
GUNICORN = {"GUNICORN_CMD_ARGS": "--config=python:tests.chaos.faulty"}


def post_worker_init(_worker: object) -> None:
    """Gunicorn's hook: arm this web process."""
    arm()


def arm() -> None:
    """Arm every point, where the environment names a file."""
    path = os.environ.get(FAULT_FILE)
    for point in Fault if path else ():
        faults.arm(point, partial(die_if_asked, point, Path(path or "")))


def die_if_asked(point: Fault, path: Path) -> None:
    """Signal this process where the file's first line asks for this point; then it tells who that was.

    What the other lines ask for is asked before this one dies: whoever comes next may be there at once.
    """
    try:
        first, *rest = path.read_text(encoding="utf-8").splitlines()
        asked, number = first.split()
        if asked != point:
            return
        path.rename(path.with_suffix(f".{os.getpid()}"))  # of two that come at once, one
    except FileNotFoundError:
        return
    if rest:
        ask(path, rest)
    os.kill(os.getpid(), int(number))


def ask(path: Path, lines: Sequence[str]) -> None:
    """Write what is asked for: a line each, one after the other."""
    asked = path.with_suffix(".new")
    asked.write_text("\n".join(lines), encoding="utf-8")
    asked.rename(path)  # never seen half-written
