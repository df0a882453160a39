"""Celery's way to the broker, which drops what is no message of Celery's instead of ending the worker.

Whoever may write to the broker's queues could else end every worker with a byte. A ring that is lost does no harm.
"""

from __future__ import annotations

import traceback
from typing import Any

from kombu.transport import redis
from redis.exceptions import DataError

from shared.log import get_logger

log = get_logger(__name__)

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError, DataError)
"""What comes of bytes that are no JSON, of JSON that is no message or nested without end, and of a message that lacks a
part or has one that the broker cannot keep."""


def _place(error: BaseException) -> str:
    """Where it was raised: a fault of ours would look like theirs without it."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""


class Channel(redis.Channel):  # type: ignore[misc]  # kombu has no types
    """kombu's channel; its hook for one item of a queue is private, so a test of whole workers watches it."""

    def _brpop_read(self, **options: Any) -> bool | None:  # Any: kombu's own
        try:
            found: bool | None = super()._brpop_read(**options)
        except UNREADABLE as error:
            log.warning("ring.unreadable", kind=type(error).__name__, at=_place(error))
            return None
        return found


class Transport(redis.Transport):  # type: ignore[misc]  # kombu has no types
    """kombu's transport, by such channels."""

    Channel = Channel
