"""Workers started by hand beside a service, in either pool: they share its films, and end as they should."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO

import psutil
import pytest
import redis
from sqlalchemy import create_engine, select

from shared.db.tables import Explanation, Result, WorkerHeartbeat
from shared.domain import JobState
from shared.supervisor import STOP_GRACE_S
from shared.version import CODE_VERSION
from tests.service import Service, films, freeze
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

Start = Callable[..., Service]

METHODS = ("gradient", "grad_cam_plus_plus", "integrated_gradients")
MAPS = 9

GIVES_UP = """
from worker.transport import Channel
def break_down(*_arguments, **_options): raise RuntimeError("a fault in Celery")
Channel._brpop_read = break_down
from shared.cli import main
main()
"""


@contextmanager
def worker_beside(
    service: Service,
    *options: str,
    log: IO[bytes] | None = None,
    program: str = "from shared.cli import main; main()",
    **environment: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """A second worker of this home, killed at the end of the block."""
    second = subprocess.Popen(
        [sys.executable, "-c", program, "worker", "run", *options],
        env={**os.environ, **service.environment, **environment},
        stdout=log or subprocess.DEVNULL,
        stderr=log or subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield second
    finally:
        with suppress(ProcessLookupError):
            os.killpg(second.pid, signal.SIGKILL)
        second.wait()


def terminate(pid: int) -> None:
    """As a supervisor ends one process."""
    os.kill(pid, signal.SIGTERM)


def terminate_all(pid: int) -> None:
    """As systemd ends a group of processes."""
    os.killpg(pid, signal.SIGTERM)


def interrupt_all(pid: int) -> None:
    """As Ctrl-C in a terminal."""
    os.killpg(pid, signal.SIGINT)


def two_workers(service: Service) -> bool:
    """What /readyz says."""
    return bool(service.http.get("/readyz").json()["workers"] == 2)


@pytest.mark.parametrize("tell", [terminate, interrupt_all])
@pytest.mark.parametrize(("pool", "children"), [("prefork", 1), ("solo", 0)])
def test_a_worker_told_to_end_is_gone_at_once(
    start_service: Start, tmp_path: Path, pool: str, children: int, tell: Callable[[int], None]
) -> None:
    """It takes its sign of life back, so nobody counts on it; the one beside it goes on. Its log tells of both ends."""
    service, log = start_service(), tmp_path / "second.log"
    with log.open("wb") as file, worker_beside(service, "--pool", pool, log=file) as second:
        wait_until(lambda: two_workers(service), "the second worker")
        assert len(psutil.Process(second.pid).children(recursive=True)) == children
        tell(second.pid)
        assert second.wait(60) == 0
        assert service.http.get("/readyz").json()["workers"] == 1
    said = [json.loads(line) for line in log.read_text().splitlines() if '"worker.' in line]
    assert [(line["event"], line["version"]) for line in said if line["logger"] == "worker.boot"] == [
        ("worker.started", CODE_VERSION),
        ("worker.ended", CODE_VERSION),
    ]
    assert service.done(service.submit(next(films(1))).id).status is JobState.SUCCEEDED


@pytest.mark.parametrize("tell", [terminate, terminate_all, interrupt_all])
@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_that_still_waits_for_its_database_ends(
    start_service: Start, tmp_path: Path, pool: str, tell: Callable[[int], None]
) -> None:
    """At once, whether its process is told alone or all of its group: the wait may last 90 s."""
    service, log = start_service(), tmp_path / "waiting.log"
    with (
        log.open("wb") as file,
        worker_beside(
            service, "--pool", pool, log=file, PLAINFILM_DATABASE_URL=f"sqlite:///{tmp_path / 'empty.db'}"
        ) as second,
    ):
        wait_until(lambda: b"database.awaited" in log.read_bytes(), "the worker to wait")
        tell(second.pid)
        assert second.wait(STOP_GRACE_S) == 0
    assert b"worker.not_started" not in log.read_bytes()


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_ends_beside_a_broker_that_hangs(start_service: Start, pool: str) -> None:
    """Told to end, it ends within the time that a supervisor gives it."""
    service = start_service()
    (broker,) = service.pids("-server")
    with worker_beside(service, "--pool", pool) as second:
        wait_until(lambda: two_workers(service), "the second worker")
        time.sleep(2)  # it hears its broker by now
        os.kill(broker, signal.SIGSTOP)
        try:
            time.sleep(3)
            second.terminate()
            assert second.wait(STOP_GRACE_S) == 0
        finally:
            os.kill(broker, signal.SIGCONT)


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_that_gives_up_says_so_by_its_status(start_service: Start, pool: str) -> None:
    """A fault in Celery ends it: a supervisor that looks at the status starts it again."""
    service = start_service()
    with worker_beside(service, "--pool", pool, program=GIVES_UP) as second:

        def has_ended() -> bool:
            service.submit(next(films(1)))  # its ring may be the other worker's
            time.sleep(0.2)
            return second.poll() is not None

        wait_until(has_ended, "the second worker to hear a ring")
        assert second.returncode == 1


def test_what_is_no_message_ends_no_worker(start_service: Start) -> None:
    """Whoever may write to the broker may ring, and no more; films are answered by the same process as before."""
    service = start_service()
    (worker,) = service.pids("worker", "run")
    no_message = [b"\xff no json", b"5", b"[]", b"{}", b'"text"', b'{"body": 1}', b"null", b"[" * 5000 + b"]" * 5000]
    with redis.Redis.from_url((service.home / "run" / "redis-url").read_text()) as client:
        for name in ("stat", "routine", "explain"):
            client.rpush(f"plainfilm:{name}", *no_message)
        wait_until(lambda: not any(client.llen(f"plainfilm:{name}") for name in ("stat", "routine")), "all to be taken")
    assert service.done(service.submit(next(films(1))).id).status is JobState.SUCCEEDED
    assert service.pids("worker", "run") == [worker]
    log = service.home / "logs" / "worker.log"
    wait_until(lambda: log.read_text().count("ring.unreadable") >= len(no_message), "all of them to be logged")


def test_a_worker_started_by_hand_finds_the_broker_of_the_next_start(start_service: Start) -> None:
    """It hears rings again: two clients of the new broker wait for them."""
    service = start_service()
    with worker_beside(service) as second:
        wait_until(lambda: two_workers(service), "the second worker")
        service.stop()
        again = start_service(service.home)
        with redis.Redis.from_url((service.home / "run" / "redis-url").read_text()) as client:
            wait_until(lambda: client.info("clients")["blocked_clients"] == 2, "both workers to wait for rings")
        assert second.poll() is None
        wait_until(lambda: two_workers(again), "both to be alive")  # it hears rings before it has said so


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_told_to_end_begins_no_other_map(start_service: Start, pool: str) -> None:
    """It ends with the one in hand; the others are left to another worker."""
    service = start_service()
    (first,) = service.pids("worker", "run")
    sent = [service.done(service.submit(film).id) for film in films(MAPS // len(METHODS))]
    with worker_beside(service, "--pool", pool, "--queues", "explain") as second:
        wait_until(lambda: "explain" in heard(service), "the second worker to make maps")
        freeze(service, first)
        try:
            for job in sent:
                for method in METHODS:
                    ask = service.http.post(job.links.explanations, headers=service.headers, json={"method": method})
                    assert ask.status_code == 202
            wait_until(lambda: begun(service), "the first map to be begun")
            before = begun(service)
            second.terminate()
            assert second.wait(60) == 0
            assert before <= begun(service) < MAPS  # another may have been begun before it heard
        finally:
            os.kill(first, signal.SIGCONT)


def heard(service: Service) -> list[str]:
    """What each worker takes."""
    with create_engine(f"sqlite:///{service.home / 'plainfilm.db'}").connect() as sql:
        return [queues for (queues,) in sql.execute(select(WorkerHeartbeat.queues))]


def begun(service: Service) -> int:
    """Maps that were claimed, whatever became of them."""
    with create_engine(f"sqlite:///{service.home / 'plainfilm.db'}").connect() as sql:
        return len(sql.execute(select(Explanation.id).where(Explanation.attempt > 0)).all())


def test_a_worker_that_dies_is_started_again(start_service: Start) -> None:
    """`plainfilm up` has one process for it: what computes is what is watched."""
    service = start_service()
    (died,) = service.pids("worker", "run")
    os.kill(died, signal.SIGKILL)
    job = service.submit(next(films(1)))
    assert service.done(job.id).status is JobState.SUCCEEDED
    assert died not in service.pids("worker", "run")


def test_two_workers_on_one_postgresql_share_the_films(
    postgres_url: str, broker_url: str, start_service: Start
) -> None:
    """PostgreSQL and an outside broker by environment alone; 200 films, each answered once, both workers at it."""
    service = start_service(
        PLAINFILM_DATABASE_URL=postgres_url, PLAINFILM_REDIS_URL=broker_url, PLAINFILM_BATCH_LIMIT="4"
    )
    with worker_beside(service):
        wait_until(lambda: two_workers(service), "the second worker")
        more = films(10_000)
        jobs = [service.submit(film) for film in islice(more, 200)]

        def are_both_at_it() -> bool:
            jobs.append(service.submit(next(more)))
            return len({worker for _, worker in answers(postgres_url)}) == 2

        wait_until(are_both_at_it, "both workers to answer films")
        assert all(service.done(job.id).status is JobState.SUCCEEDED for job in jobs)
    answered = [job_id for job_id, _ in answers(postgres_url)]
    assert len(answered) == len(set(answered))
    assert {job.id for job in jobs} <= set(answered)


def answers(url: str) -> list[tuple[str, str]]:
    """Of each film, and by whom."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(select(Result.job_id, Result.worker)).all()
    engine.dispose()
    return [(job_id, worker) for job_id, worker in rows]


def test_a_worker_without_the_films_takes_none(
    postgres_url: str, broker_url: str, start_service: Start, tmp_path: Path
) -> None:
    """Its PLAINFILM_HOME is another: it waits and says so, and every film is answered by the worker that has them."""
    service = start_service(PLAINFILM_DATABASE_URL=postgres_url, PLAINFILM_REDIS_URL=broker_url)
    said = tmp_path / "second.log"
    with said.open("wb") as log, worker_beside(service, log=log, PLAINFILM_HOME=str(tmp_path / "other")):
        wait_until(lambda: "films.awaited" in said.read_text() or two_workers(service), "the second worker")
        jobs = [service.submit(film) for film in films(40)]
        assert [service.done(job.id).status for job in jobs] == [JobState.SUCCEEDED] * 40
        assert "PLAINFILM_HOME" in said.read_text()
        assert not two_workers(service)
