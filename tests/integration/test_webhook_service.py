"""Webhooks by processes of their own: killed, told to end, and under `plainfilm up`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import update

from shared import webhook_wire as wire
from shared.db.deliveries import AT_ONCE
from shared.db.engine import Database, make_engine
from shared.db.webhook_tables import Delivery
from shared.domain import DeliveryState, JobState
from tests.service import Service, films
from tests.waiting import LIMIT_S, wait_until
from tests.webhooks import cancel_job, list_deliveries, make_webhook, receiving

pytestmark = [pytest.mark.integration, pytest.mark.slow]

Start = Callable[[], subprocess.Popen[str]]


@pytest.fixture
def real_database(database_url: str) -> Iterator[Database]:
    """By its own clock, as the processes see it."""
    opened = Database(make_engine(database_url))
    yield opened
    opened.close()


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts a dispatcher that may send to this machine; kills what is left at the end."""
    started: list[subprocess.Popen[str]] = []
    own = {"PLAINFILM_HOME": str(tmp_path), "PLAINFILM_DATABASE_URL": database_url}
    own |= {"PLAINFILM_WEBHOOKS": "true", "PLAINFILM_WEBHOOKS_PRIVATE": "true"}

    def begin() -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "shared.webhooks.run"]
        started.append(subprocess.Popen(command, env={**os.environ, **own}, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def end_leases(database: Database) -> None:
    """As if a minute had passed."""
    with database.begin() as session:
        held = update(Delivery).where(Delivery.lease_until.is_not(None))
        session.execute(held.values(lease_until=database.now(session) - timedelta(seconds=1)))


def test_a_dispatcher_killed_between_sending_and_noting_costs_no_delivery(
    real_database: Database, start: Start
) -> None:
    """The receiver has it, nobody wrote that down: the next dispatcher sends it again, under the same id."""
    came, go_on = Event(), Event()

    def hold(_handler: BaseHTTPRequestHandler) -> None:
        came.set()
        go_on.wait(LIMIT_S)

    with receiving(hold, 204) as receiver:
        webhook_id, secret = make_webhook(real_database, receiver.url)
        job_id = cancel_job(real_database)
        first = start()
        assert came.wait(LIMIT_S), first.poll()
        first.send_signal(signal.SIGKILL)
        first.wait()
        go_on.set()
        end_leases(real_database)
        start()
        wait_until(lambda: len(receiver.received) == 2, "the delivery to be sent again")
        wait_until(lambda: list_deliveries(real_database, webhook_id)[0].ended_at, "that to be noted")
    (found,) = list_deliveries(real_database, webhook_id)
    assert found.status is DeliveryState.DELIVERED
    assert receiver.ids() == [found.id] * 2
    assert receiver.job_ids() == [job_id] * 2
    assert receiver.received[1].check(secret).type == "job.cancelled"


def test_two_dispatchers_tell_each_end_once_while_one_dies(real_database: Database, start: Start) -> None:
    """Of thirty jobs each is told, and none is told twice but what was being sent when one died and leases ended."""
    with receiving(204) as receiver:
        make_webhook(real_database, receiver.url)
        processes = [start(), start()]
        ended = [cancel_job(real_database) for _ in range(15)]
        wait_until(lambda: receiver.received, "the first delivery")
        processes[0].send_signal(signal.SIGKILL)
        ended += [cancel_job(real_database) for _ in range(15)]

        processes[0].wait()
        end_leases(real_database)
        wait_until(lambda: set(ended) <= set(receiver.job_ids()), "all to be told")
    assert set(receiver.job_ids()) == set(ended)
    assert len(receiver.ids()) - len(set(receiver.ids())) <= 2 * AT_ONCE, "the living one's leases ended as well"
    assert len(set(receiver.ids())) == len(ended)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_dispatcher_ends_with_what_is_in_hand(real_database: Database, start: Start, tmp_path: Path) -> None:
    """Told to end while a receiver takes its time, it waits for the answer, notes it and leaves nothing behind."""
    came = Event()

    def be_slow(handler: BaseHTTPRequestHandler) -> None:
        came.set()
        time.sleep(0.5)
        handler.send_response(204)
        handler.end_headers()

    with receiving(be_slow) as receiver:
        webhook_id, _ = make_webhook(real_database, receiver.url)
        cancel_job(real_database)
        process = start()
        assert came.wait(LIMIT_S), process.poll()
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
    (found,) = list_deliveries(real_database, webhook_id)
    assert [each.status for each in found.attempts] == [204]
    assert list((tmp_path / "run").iterdir()) == []


def test_a_film_is_told_by_the_whole_service(start_service: Callable[..., Service]) -> None:
    """Added, told, tried, given another secret, sent again and removed from the command line; what dies comes again."""
    service = start_service(PLAINFILM_WEBHOOKS="true", PLAINFILM_WEBHOOKS_PRIVATE="true")
    service.settle()
    with receiving(204) as receiver:
        webhook_id, _, secret = service.run("webhook", "add", receiver.url).stdout.replace("\n", "  ").split("  ")[:3]
        (film,) = films(1)
        job = service.done(service.submit(film).id)
        wait_until(lambda: receiver.received, "the delivery")
        told = receiver.received[0].check(secret)
        assert isinstance(told, wire.JobEnded)
        assert (told.data.id, told.data.status, told.timestamp) == (job.id, JobState.SUCCEEDED, job.finished_at)

        def listed() -> list[str]:
            (line,) = service.run("webhook", "deliveries", webhook_id).stdout.splitlines()
            return line.split("  ")

        wait_until(lambda: listed()[3] == DeliveryState.DELIVERED, "that to be noted")
        assert listed()[:3] == [receiver.received[0].id, "job.succeeded", job.id]
        assert webhook_id in service.run("webhook", "list").stdout

        (pid,) = service.pids("shared.webhooks.run")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: service.pids("shared.webhooks.run") not in ([], [pid]), "it to be started again")
        newer = service.run("webhook", "rotate", webhook_id).stdout.split()[-1]
        service.run("webhook", "test", webhook_id)
        wait_until(lambda: len(receiver.received) == 2, "the ping")
        assert [receiver.received[1].check(each).type for each in (secret, newer)] == ["ping", "ping"]

        again = service.run("webhook", "replay", webhook_id, receiver.received[0].id)
        assert again.returncode == 0, again.stderr
        wait_until(lambda: len(receiver.received) == 3, "the delivery once more")
        assert receiver.received[2].check(newer) == told
        assert (
            service.run("webhook", "replay", webhook_id, "--failed-since", "2026-01-01").stdout == "0 are sent again\n"
        )
        assert service.run("webhook", "remove", webhook_id).stdout == f"{webhook_id} is removed\n"
    assert service.run("audit", "verify").returncode == 0
    service.stop()
    assert service.pids() == []
