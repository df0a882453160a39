"""Gunicorn's hook for tests (`--config=python:tests.patient`): a connection may be silent for minutes, as tests may."""

from __future__ import annotations

from typing import Any


def post_worker_init(worker: Any) -> None:
    """Instead of what `web.run` sets."""
    worker.cfg.set("keepalive", 300)
