"""Both ends of the doorbell: what the web rings, a worker answers."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from shared import queueing
from shared.wiring import new_job_id
from worker.serving import Serving

ROOT = Path(__file__).resolve().parents[2]
SENDER = """
from shared.settings import load_settings
from worker.app import create_celery
app = create_celery(load_settings())
"""
CODE = """
import json
from pathlib import Path
from shared.settings import Settings
from worker.app import create_celery
app = create_celery(Settings(home=Path("/nowhere"), redis_url="redis://127.0.0.1:1/0"))
queues = {q.name: [q.exchange.name, q.routing_key] for q in app.amqp.queues.values()}
tasks = {name: task.ignore_result for name, task in app.tasks.items() if not name.startswith("celery.")}
names = ["task_serializer", "accept_content", "task_acks_late", "task_reject_on_worker_lost", "result_backend",
         "worker_prefetch_multiplier", "task_create_missing_queues", "worker_proc_alive_timeout",
         "broker_connection_max_retries", "worker_hijack_root_logger", "timezone"]
print(json.dumps({"queues": queues, "tasks": tasks, "prefix": app.conf.broker_transport_options["global_keyprefix"],
                  "conf": {name: app.conf[name] for name in names}}))
"""


@pytest.fixture(scope="module")
def worker() -> dict[str, Any]:
    """What a worker's Celery app is, in a process of its own: apps are global; Any: JSON."""
    ran = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def task_names() -> set[str]:
    """Every name that `shared.queueing` knows."""
    return {value for name, value in vars(queueing).items() if name.isupper() and str(value).startswith("worker.")}


def test_every_name_has_its_task(worker: dict[str, Any]) -> None:
    """No ring without an ear, no task without a bell."""
    assert task_names() == worker["tasks"].keys()
    assert queueing.CLASSIFY in task_names()


def test_no_task_keeps_a_result(worker: dict[str, Any]) -> None:
    """The job row is the result."""
    assert all(worker["tasks"].values())
    assert worker["conf"]["result_backend"] is None


def test_each_class_has_a_queue_of_its_own(worker: dict[str, Any]) -> None:
    """One a class and one for explanations, each with an exchange of its own: a ring reaches one queue."""
    assert worker["queues"] == {name: [name, name] for name in Serving().queues}


def test_both_ends_use_the_same_keys(worker: dict[str, Any]) -> None:
    """Several programs may share one Redis."""
    assert worker["prefix"] == queueing.KEY_PREFIX


def test_the_settings_that_were_measured_are_in_force(worker: dict[str, Any]) -> None:
    """Late acknowledgement, no redelivery of poison, JSON only, a child may take its time to load."""
    assert worker["conf"] == {
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": True,
        "task_reject_on_worker_lost": False,
        "result_backend": None,
        "worker_prefetch_multiplier": 1,
        "task_create_missing_queues": False,
        "worker_proc_alive_timeout": 120,
        "broker_connection_max_retries": None,
        "worker_hijack_root_logger": False,
        "timezone": "UTC",
    }


@pytest.mark.parametrize("task", [queueing.CLASSIFY, queueing.EXPLAIN])
def test_a_ring_is_what_celery_would_send(broker_url: str, task: str) -> None:
    """Written by us for speed: every word that Celery's own message has, but for those that nobody reads."""
    subject = new_job_id()
    with Redis.from_url(broker_url) as redis:
        redis.flushdb()
        code = f"{SENDER}app.send_task({task!r}, [{subject!r}], queue='stat', ignore_result=True)"
        environment = {**os.environ, "PLAINFILM_REDIS_URL": broker_url}
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
        (raw,) = redis.lrange(f"{queueing.KEY_PREFIX}stat", 0, -1)
    theirs, ours = flat(json.loads(raw)), flat(json.loads(queueing.make_message(task, subject, "stat")))
    unread = {
        name
        for name in theirs
        if name.removeprefix("headers.").partition(".")[0]
        in {"origin", "shadow", "group_index", "replaced_task_nesting", "stamped_headers", "stamps"}
    }
    assert theirs.keys() - ours.keys() == unread | {"properties.reply_to"}
    names = {"headers.id", "headers.root_id", "properties.correlation_id", "properties.delivery_tag"}
    assert {name: value for name, value in ours.items() if name not in names} == {
        name: theirs[name] for name in ours if name not in names
    }
    assert len({ours[name] for name in names}) == len({theirs[name] for name in names}) == 2


def flat(message: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested names joined by dots; the body decoded."""
    found: dict[str, Any] = {}
    for name, value in message.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = json.loads(base64.b64decode(value)) if name == "body" else value
    return found
