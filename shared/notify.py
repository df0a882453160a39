"""Hints that jobs have changed, over Redis pub/sub: published after the commit, received by each web process.

A hint carries ids and has no authority: its receiver reads the state from SQL. `web/waiting.py` polls each second,
which makes up for lost hints, so nothing here is retried and nothing raises.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Final

from redis.backoff import NoBackoff
from redis.client import PubSub
from redis.exceptions import RedisError
from redis.retry import Retry

from shared.breaker import Breaker
from shared.log import get_logger
from shared.redis_client import make_client

CHANNEL: Final = "plainfilm:changed"
TICK_S: Final = 1.0
"""How long a listener waits for a hint before it checks whether it was closed, and before it reconnects."""

log = get_logger(__name__)


class RedisNotifier:
    """A Notifier over Redis pub/sub; connects at the first use."""

    def __init__(self, broker_url: str) -> None:
        at_once = Retry(NoBackoff(), 0)  # redis-py's own default tries three times more, with pauses of seconds
        self._publisher = make_client(broker_url, socket_timeout=1, socket_connect_timeout=1, retry=at_once)
        self._subscriber = make_client(
            broker_url, socket_timeout=5, socket_connect_timeout=1, retry=at_once, health_check_interval=10
        )
        self._breaker = Breaker()
        self._closed = threading.Event()

    def publish(self, job_ids: Sequence[str]) -> bool:
        """Publish one message for all ids; skip it, without waiting, while the broker has just failed several times."""
        if not job_ids or not self._breaker.allows():
            return False
        try:
            self._publisher.publish(CHANNEL, " ".join(job_ids))
        except (RedisError, OSError) as error:
            log.warning("notice.failed", n=len(job_ids), error=type(error).__name__)
            self._breaker.note(worked=False)
            return False
        self._breaker.note(worked=True)
        return True

    def listen(self) -> Iterator[Sequence[str]]:
        """Yield hints as they arrive, and an empty one each second; reconnect on errors, end after `close`."""
        while not self._closed.is_set():
            # redis-py leaves its arguments without types
            with self._subscriber.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]
                try:
                    subscription.subscribe(CHANNEL)
                    while not self._closed.is_set():
                        yield _next_hint(subscription)
                except (RedisError, OSError) as error:
                    log.warning("notices.not_heard", error=type(error).__name__)
            yield ()
            self._closed.wait(TICK_S)
        self._subscriber.close()

    def close(self) -> None:
        """Let listeners end within a second, which then close their own connection; idempotent."""
        self._closed.set()
        self._publisher.close()


def _next_hint(subscription: PubSub) -> Sequence[str]:
    """Return the ids of the next message, or none after a second; messages of any other form are ignored."""
    message = subscription.get_message(timeout=TICK_S)
    if message is None or not isinstance(message["data"], bytes):
        return ()
    return message["data"].decode("utf-8", "replace").split()
