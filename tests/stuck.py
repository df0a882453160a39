"""Gunicorn's hooks for tests (`--config=python:tests.stuck`): a loop that hangs, and is given eight seconds.

They begin a moment before it hangs: a machine that stands still for some seconds just then is not what ends it.
"""

from __future__ import annotations

from typing import Any


def post_worker_init(worker: Any) -> None:
    """Once it turns, hold it up for good, as a call does that no greenlet can be changed in."""
    import gevent  # noqa: PLC0415  patched by now
    from gevent.monkey import get_original  # noqa: PLC0415

    worker.timeout = 8
    gevent.spawn(hang, get_original("time", "sleep"))  # as soon as it turns


def hang(sleep: Any) -> None:
    """For longer than any test waits."""
    sleep(600)
