"""Gunicorn's hook for tests (`--config=python:tests.hurried`): an answer has to be taken within a second."""

from __future__ import annotations

from web import slow_readers


def post_worker_init(_worker: object) -> None:
    """Instead of half a minute."""
    slow_readers.PIECE_S = 1.0
