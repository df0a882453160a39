"""The doorbell's names and its web side: task and queue names, the message, and `CeleryQueue`.

The worker registers the names, and a contract test compares both sides, since this file imports neither the worker nor
Celery: sending a ring through Celery takes longer than all the rest of it (DECISIONS 48).
"""

from __future__ import annotations

import base64
import json
import math
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Final

from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from shared.breaker import Breaker
from shared.domain import EXPLAIN_QUEUE, Priority
from shared.idle_workers import IdleWorkers
from shared.log import get_logger
from shared.redis_client import make_client

CLASSIFY: Final = "worker.classify"
EXPLAIN: Final = "worker.explain"

KEY_PREFIX: Final = "plainfilm:"

ALONE_S: Final = 0.05
"""A film that comes longer than this after the previous one is rung for without checking for idle workers: for a
single client the check costs more than it saves (DECISIONS 26)."""

log = get_logger(__name__)


def make_message(task: str, subject: str, queue: str) -> str:
    """Return a call of `task` with one argument as Celery's Redis transport stores it in the list of `queue`.

    Celery's message protocol 2 in kombu's envelope, without fields that no worker needs: origin, reply queue, stamps.
    """
    ring_id = str(uuid.uuid4())
    body = json.dumps([[subject], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    headers = {
        "lang": "py", "task": task, "id": ring_id, "root_id": ring_id, "parent_id": None, "group": None,
        "retries": 0, "eta": None, "expires": None, "timelimit": [None, None], "argsrepr": f"['{subject}']",
        "kwargsrepr": "{}", "ignore_result": True,
    }  # fmt: skip
    properties = {
        "correlation_id": ring_id,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "delivery_tag": str(uuid.uuid4()),
        "priority": 0,
        "body_encoding": "base64",
    }
    return json.dumps({
        "body": base64.b64encode(body.encode()).decode(), "content-type": "application/json",
        "content-encoding": "utf-8", "headers": headers, "properties": properties,
    })  # fmt: skip


class CeleryQueue:
    """A Queue that Celery's workers consume: one message for each film or explanation, with its id only.

    Args:
        broker_url: of Redis.
        alone_s: as `ALONE_S`.
    """

    def __init__(self, broker_url: str, alone_s: float = ALONE_S) -> None:
        self._breaker = Breaker()
        at_once = Retry(NoBackoff(), 0)  # redis-py's own default tries three times more, with pauses
        self._redis = make_client(broker_url, socket_timeout=1, socket_connect_timeout=1, retry=at_once)
        self._idle = IdleWorkers(self._redis)
        self._alone_s, self._classified_at = alone_s, -math.inf

    def classify(self, job_id: str, priority: Priority) -> bool:
        """Ring, unless all workers are busy.

        An unreachable broker only delays the film until a worker polls, so the error is logged, not raised.
        """

        def ring() -> None:
            now, previous = time.monotonic(), self._classified_at
            self._classified_at = now
            if now - previous > self._alone_s or self._idle.may_hear(priority):
                self._send(CLASSIFY, job_id, priority.value)

        return self._try(CLASSIFY, job_id, ring)

    def explain(self, explanation_id: str) -> bool:
        """Ring for an explanation, even if all workers are busy."""
        return self._try(EXPLAIN, explanation_id, lambda: self._send(EXPLAIN, explanation_id, EXPLAIN_QUEUE))

    def note_idle(self, worker: str, priorities: Sequence[Priority]) -> bool:
        """Note that the worker is about to poll once more and then wait for a ring."""
        return self._try("note_idle", worker, lambda: self._idle.note_idle(worker, priorities))

    def note_busy(self, worker: str) -> bool:
        """Note that the worker needs no ring until it is idle."""
        return self._try("note_busy", worker, lambda: self._idle.note_busy(worker))

    def forget(self, worker: str) -> bool:
        """Delete the note of a worker that has ended."""
        return self._try("forget", worker, lambda: self._idle.forget(worker))

    def backlog(self, queues: Sequence[str] = tuple(Priority)) -> int | None:
        """Count the rings in these queues, by default those of all priorities; None on an error."""
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
        """Close the connections; idempotent."""
        self._redis.close()

    def _send(self, task: str, subject: str, queue: str) -> None:
        self._redis.lpush(KEY_PREFIX + queue, make_message(task, subject, queue))

    def _try(self, name: str, subject: str, call: Callable[[], None]) -> bool:
        """Make a call of the broker; False where it failed, or was skipped since several calls have just failed.

        Nothing is lost by that: a worker's poll or the sweeper finds the film.
        """
        if not self._breaker.allows():
            return False
        try:
            call()
        except (RedisError, OSError) as error:
            log.warning("queue.failed", call=name, subject=subject, error=type(error).__name__)
            self._breaker.note(worked=False)
            return False
        self._breaker.note(worked=True)
        return True
