"""Celery's transport to the broker, which drops malformed messages instead of ending the worker.

Otherwise any client that may write to the queues could end all workers with one byte. A lost ring does no harm.
"""

from __future__ import annotations

import traceback
from typing import Any

from kombu.transport import redis
from redis.exceptions import DataError

from shared.log import get_logger

log = get_logger(__name__)

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError, DataError)
"""Raised for bytes that are not JSON, for JSON that is not a message or is nested too deeply, and for a message that
lacks a part or has one that the broker cannot store."""


def _place(error: BaseException) -> str:
    """Return the file and line of the error, which tell a bug of this service from a malformed message."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""


class Channel(redis.Channel):  # type: ignore[misc]  # kombu has no types
    """The channel of kombu; this hook for one message is private, so a test with real workers checks its use."""

    def _brpop_read(self, **options: Any) -> bool | None:  # Any: kombu's own
        try:
            is_delivered: bool | None = super()._brpop_read(**options)
        except UNREADABLE as error:
            log.warning("ring.unreadable", kind=type(error).__name__, at=_place(error))
            return None
        return is_delivered


class Transport(redis.Transport):  # type: ignore[misc]  # kombu has no types
    """The transport of kombu, with this channel."""

    Channel = Channel
