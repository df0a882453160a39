"""Gunicorn's hooks for tests (`--config=python:tests.stuck`): a loop that hangs, and is given two seconds."""

from __future__ import annotations

from typing import Any


def post_worker_init(worker: Any) -> None:
    """Once it turns, hold it up for good, as a call does that no greenlet can be changed in."""
    import gevent  # noqa: PLC0415  patched by now
    from gevent.monkey import get_original  # noqa: PLC0415

    worker.timeout = 2
    gevent.spawn_later(1.0, hang, get_original("time", "sleep"))


def hang(sleep: Any) -> None:
    """For longer than any test waits."""
    sleep(600)
