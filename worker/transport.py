"""Celery's way to the broker, which drops what is no message of Celery's instead of ending the worker.

Whoever may write to the broker's queues could else end every worker with a byte. A ring that is lost does no harm.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis

from shared.log import get_logger

log = get_logger(__name__)

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)
"""What comes of bytes that are no JSON, of JSON that is no message, and of a message that lacks a part."""


class Channel(redis.Channel):  # type: ignore[misc]  # kombu has no types
    """kombu's channel; its hook for one item of a queue is private, so a test of whole workers watches it."""

    def _brpop_read(self, **options: Any) -> bool | None:  # Any: kombu's own
        try:
            found: bool | None = super()._brpop_read(**options)
        except UNREADABLE as error:
            log.warning("ring.unreadable", kind=type(error).__name__)
            return None
        return found


class Transport(redis.Transport):  # type: ignore[misc]  # kombu has no types
    """kombu's transport, by such channels."""

    Channel = Channel
