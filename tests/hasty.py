"""Gunicorn's hook for tests (`--config=python:tests.hasty`): a body has a second to come, not half a minute."""

from __future__ import annotations


def post_worker_init(_worker: object) -> None:
    """After the application was loaded, so that gevent has patched what it imports."""
    from web import bodies  # noqa: PLC0415

    bodies.GRACE_S = 1.0
