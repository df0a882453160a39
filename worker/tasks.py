"""The Celery tasks: a ring arrives, films are processed. A task takes an id only, returns nothing and is not retried.

Imports are inside the tasks: the process that forks the children of a pool runs none of them (DECISIONS 29).
"""

from __future__ import annotations

from celery import Celery

from shared.queueing import CLASSIFY, EXPLAIN


def register(app: Celery) -> None:
    """Register the tasks with `app` under the names of `shared.queueing`."""

    @app.task(name=CLASSIFY, ignore_result=True, trail=False, shared=False)  # registered with this app only
    def classify(job_id: str) -> None:
        """Process some batches if the film still waits; a ring for a film already claimed costs one read at most."""
        from shared.db import queue_queries  # noqa: PLC0415  see the module
        from worker import boot  # noqa: PLC0415

        runtime = boot.current()
        if runtime.kitchen.rings.settle(job_id):
            return
        with runtime.kitchen.resources.database.read_core() as sql:
            is_waiting = queue_queries.is_queued(sql, job_id)
        if is_waiting:
            try:
                runtime.work()
            except BaseException:  # no drain follows a failure: the next poll or ring does
                runtime.announce_idle()
                raise
            runtime.kitchen.rings.settle(job_id)  # this ring arrived before its film was claimed
            if runtime.kitchen.availability.is_busy:  # the poll loop drains: Celery waits for tasks when it shuts down
                runtime.films_wanted.set()

    @app.task(name=EXPLAIN, ignore_result=True, trail=False, shared=False)
    def explain(explanation_id: str) -> None:
        """Wake the thread that explains if the explanation still waits; this thread stays free for films."""
        from shared.db import explanation_queries  # noqa: PLC0415
        from worker import boot  # noqa: PLC0415

        runtime = boot.current()
        with runtime.kitchen.resources.database.read_core() as sql:
            is_waiting = explanation_queries.is_queued(sql, explanation_id)
        if is_waiting:
            runtime.explanations_wanted.set()
