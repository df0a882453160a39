"""Kills or stops a process at a named point: the first that reaches what is written in the file CHAOS_FAULT_FILE.

Workers arm themselves in `entry`; web processes by gunicorn's hook below, which GUNICORN_CMD_ARGS names
(`--config=python:tests.chaos.faulty`).
"""

from __future__ import annotations

import os
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
    """Signal this process where the file asks for this point; it then tells who that was, and asks for nothing more."""
    try:
        asked, number = path.read_text(encoding="utf-8").split()
        if asked != point:
            return
        path.rename(path.with_suffix(f".{os.getpid()}"))  # of two that come at once, one
    except FileNotFoundError:
        return
    os.kill(os.getpid(), int(number))
