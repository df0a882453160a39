"""The Celery tasks: a ring comes in, work is done. No arguments but an id, no result, no retries here.

What they need is imported where they run: the process that forks a pool child runs none of them (DECISIONS 29).
"""

from __future__ import annotations

from celery import Celery

from shared.queueing import CLASSIFY, EXPLAIN


def register(app: Celery) -> None:
    """Bind the tasks to `app` under the names of `shared.queueing`."""

    @app.task(name=CLASSIFY, ignore_result=True, trail=False, shared=False)  # of this app, not of every one
    def classify(job_id: str) -> None:
        """Work some batches if the film that rang still waits; a ring behind a full batch costs one read at most."""
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
            except BaseException:  # as in `loops.drain`
                runtime.note_idle()
                raise
            runtime.kitchen.rings.settle(job_id)  # it rang before it was claimed
            if runtime.kitchen.busy.is_set():  # the poll loop goes on, and notes when it is idle: Celery waits for us
                runtime.woken.set()

    @app.task(name=EXPLAIN, ignore_result=True, trail=False, shared=False)
    def explain(explanation_id: str) -> None:
        """Wake the thread that explains, where this one still waits: films are heard of meanwhile."""
        from shared.db import explanation_queries  # noqa: PLC0415
        from worker import boot  # noqa: PLC0415

        runtime = boot.current()
        with runtime.kitchen.resources.database.read_core() as sql:
            is_waiting = explanation_queries.is_queued(sql, explanation_id)
        if is_waiting:
            runtime.asked.set()
