"""`create_celery(settings)`: every Celery setting, each with its reason. `celery -A worker.app` works too.

Celery carries rings and, in a prefork pool, restarts the child; it decides nothing about a film. Its own retries,
results and redelivery are off or harmless, since the job row is the truth.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown
from kombu import Exchange, Queue

from shared.domain import EXPLAIN_QUEUE, Priority
from shared.errors import QueueDown
from shared.log import get_logger
from shared.processes import die_with_parent
from shared.queueing import KEY_PREFIX
from shared.redis_client import make_client
from shared.settings import NO_BROKER, Settings, load_settings
from worker import tasks
from worker.serving import Serving
from worker.shutdown import EndedWhileWaiting, SharedFlag

if TYPE_CHECKING:
    app: Celery


ALL = Serving()

EXIT_NO_START: Final = 78
"""Exit status of a child that cannot start (EX_CONFIG of sysexits.h)."""

log = get_logger(__name__)


def task_queues() -> tuple[Queue, ...]:
    """Return one queue for each priority, and one for explanations.

    Separate queues, since Celery's priorities on Redis are not kept across the prefetched messages. Each has an
    exchange of its own: by Celery's default exchange a ring would reach all queues.
    """
    return tuple(Queue(name, Exchange(name), routing_key=name) for name in (*Priority, EXPLAIN_QUEUE))


def create_celery(settings: Settings) -> Celery:
    """Create the Celery app of a worker.

    Raises:
        QueueDown: no broker is set.
        InvalidRequest: the address of the broker cannot be used.
    """
    broker_url = settings.broker_url
    if broker_url is None:
        raise QueueDown(NO_BROKER)
    make_client(broker_url).close()  # an address that cannot be used is told here, not by each attempt to connect
    celery = Celery("plainfilm", broker=broker_url)
    celery.conf.update(
        task_ignore_result=True,  # the job row is the result
        result_backend=None,  # a backend costs 40-50 % more CPU a message
        task_serializer="json",
        event_serializer="json",
        accept_content=["json"],  # never a pickle
        task_queues=task_queues(),
        task_create_missing_queues=False,
        task_acks_late=True,  # an early ack takes the next ring 17 s before its turn
        worker_prefetch_multiplier=1,  # likewise
        task_acks_on_failure_or_timeout=True,  # False with a hard limit reruns for ever
        task_reject_on_worker_lost=False,  # True restarts a film that kills its process for ever
        task_soft_time_limit=None,  # the lease keeper ends a batch that takes too long, in every pool
        task_time_limit=None,
        worker_proc_alive_timeout=120,  # at 4 s a replacement child is killed while its model loads
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_soft_shutdown_timeout=0,  # it sleeps its whole time; SIGTERM's warm shutdown ends with the batch
        broker_transport="worker.transport:Transport",  # kombu's ends with the first item that is no message
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=2,
        broker_transport_options={
            "visibility_timeout": 120,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "global_keyprefix": KEY_PREFIX,
        },
        worker_hijack_root_logger=False,  # logs are ours, JSON lines
        worker_send_task_events=False,
        worker_redirect_stdouts=False,
        timezone="UTC",
    )
    tasks.register(celery)
    return celery


def work_in_children(settings: Settings, serving: Serving = ALL, announced: SharedFlag | None = None) -> None:
    """Start each child of the pool as a worker that serves these queues, and end it as one.

    Args:
        announced: set when Celery receives SIGTERM; the children share it.
    """

    def start_child(**_sent: object) -> None:
        try:
            from worker import boot  # noqa: PLC0415  only the child pays for numpy and SQL

            die_with_parent()
            boot.start(settings, serving, announced)
        except EndedWhileWaiting:
            os._exit(os.EX_OK)
        except BaseException:  # Celery would log the error and keep a child that cannot work
            log.exception("worker.not_started")
            os._exit(EXIT_NO_START)

    def stop_child(**_sent: object) -> None:
        from worker import boot  # noqa: PLC0415

        boot.stop()

    worker_process_init.connect(start_child, weak=False)
    worker_process_shutdown.connect(stop_child, weak=False)


def __getattr__(name: str) -> Celery:
    """Create `app` when Celery's own command reads it: importing this module has no effects."""
    if name in {"app", "celery"}:
        settings = load_settings()
        work_in_children(settings)
        return create_celery(settings)
    raise AttributeError(name)
