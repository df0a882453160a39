"""Gunicorn's hooks for tests (`--config=python:tests.stuck_start`): a start that hangs, and is given two seconds."""

from __future__ import annotations

from typing import Any


def post_worker_init(worker: Any) -> None:
    """The last of what comes before the loop, for longer than any test waits."""
    from gevent.monkey import get_original  # noqa: PLC0415  patched by now

    worker.timeout = 2
    worker.restart_watchdog()
    get_original("time", "sleep")(600)
