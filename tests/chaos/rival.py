"""The usual design to compare with: each film is a Celery task on Redis, and its result is in Celery's Redis backend.

`celery -A tests.chaos.rival worker` imports it; CHAOS_RIVAL says which of its two settings, CHAOS_REDIS_URL where.
A task sleeps as the stand-in engine does and notes its start and its end in the file CHAOS_DEEDS.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from celery import Celery

from tests.chaos.facts import AuditRow
from tests.chaos.plan import Design
from tests.chaos.standin import FILM_MS

TASK = "chaos.film"
QUEUE, UNACKED, RESULT = "celery", "unacked", "celery-task-meta-"
"""Names of kombu's and Celery's own in Redis."""

ACKS_LATE = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "broker_transport_options": {"visibility_timeout": 15},  # default 1 h: no trial would see a redelivery
}
"""Beside this and the URLs every setting is Celery's default."""


def create(url: str, design: str) -> Celery:
    """The app of workers; a client needs the broker only."""
    app = Celery("rival", broker=url, backend=url, set_as_current=False)
    if design == Design.CELERY_ACKS_LATE:
        app.conf.update(ACKS_LATE)

    def film(key: str) -> str:
        note("start", key)
        time.sleep(int(os.environ[FILM_MS]) / 1000)
        note("done", key)
        return key

    app.task(name=TASK, shared=False)(film)
    return app


def note(deed: str, key: str) -> None:
    """One line in one write, so that lines of several processes do not mix."""
    line = f"{deed} {key} {os.getpid()} {time.time()}\n"
    descriptor = os.open(os.environ["CHAOS_DEEDS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def read_deeds(path: Path) -> Sequence[AuditRow]:
    """What workers did, in the words of plainfilm's audit trail, so that the same recovery is measured."""
    if not path.exists():
        return []
    words = {"start": "claimed", "done": "succeeded"}
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        AuditRow(seq, float(at), f"worker:{pid}", words[deed], key) for seq, (deed, key, pid, at) in enumerate(lines)
    ]


def __getattr__(name: str) -> Celery:
    """Make `app` when Celery's command asks for it: nothing happens at import."""
    if name in {"app", "celery"}:
        return create(os.environ["CHAOS_REDIS_URL"], os.environ["CHAOS_RIVAL"])
    raise AttributeError(name)
