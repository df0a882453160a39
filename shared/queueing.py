"""The doorbell's names and its web side: task and queue names, broker options, and `CeleryQueue`.

The worker registers the names; a contract test holds both ends together, since this file imports no worker.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from celery import Celery
from kombu import Exchange
from kombu import Queue as KombuQueue
from kombu.exceptions import OperationalError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from shared.breaker import Breaker
from shared.domain import EXPLAIN_QUEUE, Priority
from shared.idle_workers import IdleWorkers
from shared.log import get_logger

CLASSIFY: Final = "worker.classify"
EXPLAIN: Final = "worker.explain"

KEY_PREFIX: Final = "plainfilm:"

ALONE_S: Final = 0.05
"""Asking before each ring cost a lone client more than it spared (DECISIONS 26)."""

log = get_logger(__name__)


def task_queues() -> tuple[KombuQueue, ...]:
    """One queue a class, and one for explanations; separate queues, since Redis priorities reorder across prefetch.

    Each has an exchange of its own: on Celery's default one a ring would reach all of them.
    """
    return tuple(KombuQueue(name, Exchange(name), routing_key=name) for name in (*Priority, EXPLAIN_QUEUE))


def broker_transport_options(*, socket_timeout_s: float) -> dict[str, object]:
    """Redis transport options of both ends.

    Args:
        socket_timeout_s: 1 in the web tier, where a request waits; 5 in workers.
    """
    return {
        "visibility_timeout": 120,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "socket_timeout": socket_timeout_s,
        "socket_connect_timeout": min(socket_timeout_s, 2),
        "socket_keepalive": True,
        "health_check_interval": 10,
        "global_keyprefix": KEY_PREFIX,
    }


def create_producer(broker_url: str) -> Celery:
    """A Celery app that only sends."""
    app = Celery("plainfilm-producer", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_queues=task_queues(),
        task_create_missing_queues=False,
        task_ignore_result=True,
        task_serializer="json",
        task_publish_retry=False,
        broker_connection_timeout=1,
        # one attempt to connect: kombu's default is to try again after 2 s, which the request would wait for
        broker_transport_options=broker_transport_options(socket_timeout_s=1) | {"max_retries": 1, "interval_start": 0},
    )
    return app


class CeleryQueue:
    """A Queue over Celery: one message a film or explanation, carrying its id only.

    Args:
        broker_url: of Redis.
        alone_s: a film that comes so long after the one before is rung for without asking who is idle.
    """

    def __init__(self, broker_url: str, alone_s: float = ALONE_S) -> None:
        self._app = create_producer(broker_url)
        self._breaker = Breaker()
        at_once = Retry(NoBackoff(), 0)  # redis-py's own default tries three times more, with pauses
        self._redis = Redis.from_url(broker_url, socket_timeout=1, socket_connect_timeout=1, retry=at_once)
        self._idle = IdleWorkers(self._redis)
        self._alone_s, self._classified_at = alone_s, -math.inf

    def classify(self, job_id: str, priority: Priority) -> bool:
        """Ring, unless all workers are busy.

        An unreachable broker delays the film until a worker polls, so it is logged, not raised.
        """

        def ring() -> None:
            now, before = time.monotonic(), self._classified_at
            self._classified_at = now
            if now - before > self._alone_s or self._idle.may_hear(priority):
                self._send(CLASSIFY, job_id, priority.value)

        return self._try(CLASSIFY, job_id, ring)

    def explain(self, explanation_id: str) -> bool:
        """Ring for an explanation; likewise, whoever is busy."""
        return self._try(EXPLAIN, explanation_id, lambda: self._send(EXPLAIN, explanation_id, EXPLAIN_QUEUE))

    def note_idle(self, worker: str, classes: Sequence[Priority]) -> bool:
        """The worker will look once more and then wait for a ring."""
        return self._try("note_idle", worker, lambda: self._idle.note_idle(worker, classes))

    def note_busy(self, worker: str) -> bool:
        """The worker needs no ring until it is idle."""
        return self._try("note_busy", worker, lambda: self._idle.note_busy(worker))

    def forget(self, worker: str) -> bool:
        """The worker has ended."""
        return self._try("forget", worker, lambda: self._idle.forget(worker))

    def backlog(self, queues: Sequence[str] = tuple(Priority)) -> int | None:
        """How many rings wait in these queues, those for films of all classes unless others are named."""
        try:
            return sum(int(self._redis.llen(KEY_PREFIX + name)) for name in queues)
        except RedisError:
            return None

    def is_up(self) -> bool:
        """True where the broker answers a PING within a second."""
        try:
            return bool(self._redis.ping())
        except RedisError:
            return False

    def close(self) -> None:
        """Close both connections; idempotent."""
        self._redis.close()
        self._app.close()

    def _send(self, task: str, subject: str, queue: str) -> None:
        self._app.send_task(task, [subject], queue=queue, ignore_result=True)

    def _try(self, what: str, subject: str, call: Callable[[], None]) -> bool:
        """Skipped, without waiting, while the broker has just failed several times: a poll or the sweeper finds it."""
        if not self._breaker.allows():
            return False
        try:
            call()
        except (OperationalError, RedisError, OSError) as error:
            log.warning("queue.failed", call=what, subject=subject, error=type(error).__name__)
            self._breaker.note(worked=False)
            return False
        self._breaker.note(worked=True)
        return True
