"""Waiting against a real broker and both databases, and in a whole service: many wait, one reads, all are told."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from shared import broker, wire
from shared.db.engine import Database
from shared.notify import RedisNotifier
from shared.settings import Settings
from tests.factories import make_pixels, make_png
from tests.jobs import claim, finish, make_job
from tests.service import Service, frozen_worker
from tests.waiting import LIMIT_S, wait_until
from web.waiting import WaitingRoom

pytestmark = [pytest.mark.integration, pytest.mark.slow]

NEVER_S = 3600.0


def film(seed: int) -> bytes:
    """Nothing medical about it."""
    return make_png(pixels=make_pixels(height_px=64, width_px=64, seed=7000 + seed))


# -- a room, a broker and a database ---------------------------------------------------------------------------------


@pytest.fixture
def teller(broker_url: str) -> Iterator[RedisNotifier]:
    """The worker's end."""
    made = RedisNotifier(broker_url)
    yield made
    made.close()


@pytest.fixture
def hearer(broker_url: str) -> Iterator[RedisNotifier]:
    """The web process's end."""
    made = RedisNotifier(broker_url)
    yield made
    made.close()


def test_a_hint_over_redis_wakes_all_who_wait(database: Database, teller: RedisNotifier, hearer: RedisNotifier) -> None:
    """On both databases: 50 wait for the films of one batch, and no look would come for an hour."""
    room = WaitingRoom(database, hearer, Settings(), look_every_s=NEVER_S)
    made = [make_job(database) for _ in range(8)]
    waiters = [room.join("default", made[place % 8]) for place in range(50)]
    assert waiters[0].next(60.0), (
        "the only look is over: those who joined after it have nothing to be told by but hints"
    )
    with ThreadPoolExecutor(50) as pool:
        ends = [pool.submit(room.wait_until_done, waiter, 2 * LIMIT_S) for waiter in waiters]
        for held in claim(database):
            finish(database, held)
        time.sleep(0.3)
        assert not [each for each in ends if each.done()]
        wait_until(lambda: teller.publish(made) and all(each.done() for each in ends), "all to be told")
        assert all(each.result() for each in ends)
    close(hearer)


@pytest.mark.parametrize("how", ["dead", "hung"])
def test_without_redis_the_look_wakes_them(database: Database, tmp_path: Path, how: str) -> None:
    """Killed or stopped while they wait: the end is found all the same."""
    command, url = broker.configure(tmp_path / "broker")
    with running(command) as pid:
        broker.wait_until_up(url, LIMIT_S)
        hearer, teller = RedisNotifier(url), RedisNotifier(url)
        room, job_id = WaitingRoom(database, hearer, Settings()), make_job(database)
        with room.waiting("default", job_id) as waiter:
            waiter.next(60.0)
            os.kill(pid, signal.SIGKILL if how == "dead" else signal.SIGSTOP)
            (held,) = claim(database)
            finish(database, held)
            assert not teller.publish([job_id])
            assert room.wait_until_done(waiter, 60.0)
        close(hearer)
        teller.close()


def close(hearer: RedisNotifier) -> None:
    """And with it the rooms' threads, before their database goes."""
    hearer.close()
    wait_until(lambda: not [each for each in threading.enumerate() if each.name.startswith("waiting-")], "their end")


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[int]:
    """A process, killed at the end; its id."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


# -- a whole service -------------------------------------------------------------------------------------------------


def send(service: Service, data: bytes, **headers: str) -> httpx.Response:
    """A film as the raw body."""
    kind = {"Content-Type": "image/png"}
    return service.http.post("/api/v1/jobs", content=data, headers={**service.headers, **kind, **headers})


def read_stream(
    service: Service, job_id: str, most: int = 100, found: list[wire.JobEvent] | None = None, **headers: str
) -> list[wire.JobEvent]:
    """Up to so many events of the job's stream, into `found` as they come; then the connection is cut."""
    found = [] if found is None else found
    path = f"/api/v1/jobs/{job_id}/events"
    with httpx.stream("GET", service.url + path, headers={**service.headers, **headers}, timeout=40) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line.startswith("data: "):
                found.append(wire.JobEvent.model_validate(json.loads(line.removeprefix("data: "))))
            if len(found) >= most:
                break
    return found


@pytest.fixture
def frozen(running_stack: Service) -> Iterator[int]:
    """The worker's process group, stopped until the test lets it go on."""
    running_stack.settle()
    with frozen_worker(running_stack) as group:
        yield group


def test_a_submission_that_waits_is_answered_by_the_worker(running_stack: Service) -> None:
    """One request from film to verdict."""
    answer = send(running_stack, film(0), Prefer="wait=30")
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, "wait=30")
    assert wire.Job.model_validate_json(answer.content).result is not None


def test_200_waiting_requests_stall_nobody(running_stack: Service, frozen: int) -> None:
    """While 200 wait, others are answered; once the worker goes on, all 200 are."""
    job_id = wire.Job.model_validate_json(send(running_stack, film(10)).content).id
    many = httpx.Client(
        base_url=running_stack.url,
        headers={**running_stack.headers, "Prefer": "wait=30"},
        limits=httpx.Limits(max_connections=201, max_keepalive_connections=0),
        timeout=60,
    )
    with many, ThreadPoolExecutor(200) as pool:
        asked = [pool.submit(many.get, f"/api/v1/jobs/{job_id}") for _ in range(200)]
        time.sleep(3.0)
        for _ in range(20):
            assert running_stack.http.get("/livez").status_code == 200
        assert not [each for each in asked if each.done()]
        os.killpg(frozen, signal.SIGCONT)
        answers = [each.result(60) for each in asked]
    assert {answer.status_code for answer in answers} == {200}
    assert all(wire.Job.model_validate_json(answer.content).done for answer in answers)


def test_a_stream_resumes_after_a_cut(running_stack: Service, frozen: int) -> None:
    """Cut after the first event, while the film waits; gone on with by its number: no gap, no repeat."""
    job_id = wire.Job.model_validate_json(send(running_stack, film(20)).content).id
    (first,) = read_stream(running_stack, job_id, most=1)
    threading.Timer(1.0, os.killpg, (frozen, signal.SIGCONT)).start()
    rest = read_stream(running_stack, job_id, **{"Last-Event-ID": str(first.seq)})
    assert [event.event for event in (first, *rest)] == ["accepted", "claimed", "succeeded"]
    assert read_stream(running_stack, job_id) == [first, *rest]


def test_an_open_stream_does_not_hold_up_the_end(start_service: Callable[..., Service]) -> None:
    """Ctrl-C with a listener: the service ends in seconds, not after gunicorn's patience."""
    service = start_service()
    service.settle()
    with frozen_worker(service):  # until its end: else it would not hear that it is to end
        job_id = wire.Job.model_validate_json(send(service, film(30)).content).id
        heard: list[wire.JobEvent] = []
        listening = threading.Thread(target=_drain, args=(service, job_id, heard))
        listening.start()
        wait_until(lambda: heard, "the stream's first event")
        web = service.pids("web.serve")
        service.http.close()  # an idle connection holds gunicorn for its keep-alive time
        began = time.monotonic()
        os.kill(min(web), signal.SIGTERM)
        listening.join(60)
        assert not listening.is_alive()
        wait_until(lambda: not set(web) & set(service.pids("web.serve")), "the old web server to end")
        assert time.monotonic() - began < 15


def _drain(service: Service, job_id: str, heard: list[wire.JobEvent]) -> None:
    with contextlib.suppress(httpx.HTTPError):
        read_stream(service, job_id, found=heard)
