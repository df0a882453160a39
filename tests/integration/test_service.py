"""The whole service as a user runs it: from a film to its stored verdict, through stops, kills and damage."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
import redis
from sqlalchemy import create_engine, select, text

from shared import samples, wire
from shared.db.tables import Result
from shared.domain import JobState, Priority
from shared.queueing import CeleryQueue
from tests.factories import make_pixels, make_png
from tests.service import Service, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

Start = Callable[..., Service]


def films(count: int) -> Iterator[bytes]:
    """Films that differ: nothing medical about them."""
    return (make_png(pixels=make_pixels(height_px=64, width_px=64, seed=n)) for n in range(count))


def test_the_first_page_has_verdicts_and_a_restart_keeps_them(start_service: Start) -> None:
    """Sample films are queued at the first start, answered, and still there after a stop and a start."""
    service = start_service()
    wait_until(lambda: len(service.jobs()) == len(samples.paths()), "the samples to be queued")
    before = {job.id: service.done(job.id) for job in service.jobs()}
    assert all(job.result is not None for job in before.values())
    service.stop()
    again = start_service(service.home)
    assert {job.id: job for job in again.jobs()} == before
    assert again.run("audit", "verify").returncode == 0


def test_an_edited_row_is_found_by_audit_verify(start_service: Start) -> None:
    """Whoever drops the trigger and edits an event is told on by `plainfilm audit verify`."""
    service = start_service()
    service.done(service.submit(next(films(1))).id)
    service.stop()
    engine = create_engine(f"sqlite:///{service.home / 'plainfilm.db'}")
    with engine.begin() as connection:
        connection.execute(text("DROP TRIGGER audit_events_no_update"))
        connection.execute(text("UPDATE audit_events SET body = replace(body, 'succeeded', 'failed') WHERE seq > 2"))
    engine.dispose()
    verified = service.run("audit", "verify")
    assert verified.returncode == 1
    assert "broken at default event" in verified.stdout


def test_ctrl_c_leaves_nothing_behind(start_service: Start) -> None:
    """After SIGINT no process of this home lives, and the broker's secrets are gone."""
    service = start_service()
    service.stop(signal.SIGINT)
    assert service.pids() == []
    assert list((service.home / "run").glob("*url*")) == []


def test_a_killed_supervisor_leaves_nothing_behind(start_service: Start) -> None:
    """After SIGKILL of `plainfilm up` the kernel ends every part of it."""
    service = start_service()
    assert len(service.pids()) > 4
    service.process.kill()
    service.process.wait()
    wait_until(lambda: service.pids() == [], f"all parts to end: {service.pids()}", wait_s=60)


def test_what_only_the_start_needed_is_given_back(running_stack: Service) -> None:
    """The process that watches keeps no database library, and no dead child."""
    assert running_stack.process is not None
    wait_until(lambda: len(running_stack.jobs()) >= len(samples.paths()), "the samples to be queued")
    watch = psutil.Process(running_stack.process.pid)
    wait_until(lambda: len(watch.children()) == 3, f"three parts: {watch.children()}")
    assert not [m.path for m in watch.memory_maps() if "sqlite" in m.path or "sqlalchemy" in m.path]
    web = psutil.Process(running_stack.pids("gunicorn")[-1])
    assert [m.path for m in web.memory_maps() if "sqlalchemy" in m.path]  # so that one would be seen


def test_the_home_of_a_newer_build_is_refused_by_name(tmp_path: Path) -> None:
    """One sentence that says what to do, and nothing stays behind."""
    service = Service(tmp_path / "home", {})
    assert service.run("db", "upgrade").returncode == 0
    with sqlite3.connect(service.home / "plainfilm.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    ran = service.run("up")
    assert ran.returncode == 1
    assert "at schema 9999" in ran.stderr
    assert "Traceback" not in ran.stderr + ran.stdout
    assert service.pids() == []


def kill_in_mid_batch(service: Service) -> list[int]:
    """Freeze the pool; where a film is running just then, kill -9 all of it, else let it go on.

    A pool frozen inside a write holds SQLite's lock, and the question gets a 503: then it goes on too.
    """
    pids = service.pids("worker", "run")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    answer = service.http.get("/api/v1/jobs", params={"status": "running"}, headers=service.headers)
    is_running = answer.status_code == 200 and bool(answer.json()["jobs"])
    for pid in pids:
        os.kill(pid, signal.SIGKILL if is_running else signal.SIGCONT)
    return pids if is_running else []


def test_films_survive_a_killed_worker(start_service: Start) -> None:
    """Kill -9 of the pool in mid-batch: its films come through after the lease, and a new worker is there."""
    service = start_service(PLAINFILM_LEASE_S="3", PLAINFILM_BATCH_LIMIT="4")
    wait_until(lambda: all(job.done for job in service.jobs()), "the samples to end")
    os.killpg(service.pids("worker", "run")[0], signal.SIGSTOP)  # or it keeps up with what is submitted
    try:
        jobs = [service.submit(film) for film in films(40)]
    finally:
        os.killpg(service.pids("worker", "run")[0], signal.SIGCONT)
    killed = wait_until(lambda: kill_in_mid_batch(service), "a worker in mid-batch")
    done = [service.done(job.id) for job in jobs]
    assert all(job.status is JobState.SUCCEEDED for job in done)
    assert max(job.attempt for job in done) == 2
    assert not set(service.pids("worker", "run")) & set(killed)
    assert service.run("audit", "verify").returncode == 0


def test_a_damaged_film_fails_alone(start_service: Start) -> None:
    """A stored film that is gone and one that was changed fail with their code; the next one succeeds."""
    service = start_service()
    wait_until(lambda: all(job.done for job in service.jobs()), "the samples to end")
    os.killpg(service.pids("worker", "run")[0], signal.SIGSTOP)
    try:
        gone, changed, sound = [service.submit(film) for film in films(3)]
        folder = service.home / "films" / "default"
        next((folder / gone.id).iterdir()).unlink()
        blob = next((folder / changed.id).iterdir())
        blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    finally:
        os.killpg(service.pids("worker", "run")[0], signal.SIGCONT)
    assert [service.done(job.id).status for job in (gone, changed, sound)] == ["failed", "failed", "succeeded"]
    assert {service.done(job.id).error.code for job in (gone, changed)} == {"blob_missing"}


def test_films_are_answered_while_the_broker_is_away(start_service: Start) -> None:
    """With a broker that hangs, a film is still accepted and a worker's poll finds it."""
    service = start_service()
    (broker,) = service.pids("-server")
    os.kill(broker, signal.SIGSTOP)
    try:
        job = service.submit(next(films(1)))
        assert service.done(job.id).status is JobState.SUCCEEDED
    finally:
        os.kill(broker, signal.SIGCONT)


@pytest.mark.parametrize(("pool", "children"), [("prefork", 1), ("solo", 0)])
def test_a_worker_told_to_end_is_gone_at_once(start_service: Start, pool: str, children: int) -> None:
    """It takes its sign of life back, so nobody counts on it; the one beside it goes on."""
    service = start_service()
    second = subprocess.Popen(
        [sys.executable, "-m", "shared.cli", "worker", "run", "--pool", pool],
        env={**os.environ, **service.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: two_workers(service), "the second worker")
        assert len(psutil.Process(second.pid).children(recursive=True)) == children
        second.terminate()
        assert second.wait(30) == 0
        assert service.http.get("/readyz").json()["workers"] == 1
    finally:
        with suppress(ProcessLookupError):
            os.killpg(second.pid, signal.SIGKILL)
        second.wait()
    assert service.done(service.submit(next(films(1))).id).status is JobState.SUCCEEDED


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_ends_beside_a_broker_that_hangs(start_service: Start, pool: str) -> None:
    """Told to end, it ends within the time that a supervisor gives it."""
    service = start_service()
    second = subprocess.Popen(
        [sys.executable, "-m", "shared.cli", "worker", "run", "--pool", pool],
        env={**os.environ, **service.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    (broker,) = service.pids("-server")
    try:
        wait_until(lambda: two_workers(service), "the second worker")
        time.sleep(2)  # it hears its broker by now
        os.kill(broker, signal.SIGSTOP)
        time.sleep(3)
        second.terminate()
        assert second.wait(25) == 0
    finally:
        os.kill(broker, signal.SIGCONT)
        with suppress(ProcessLookupError):
            os.killpg(second.pid, signal.SIGKILL)
        second.wait()


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_that_gives_up_says_so_by_its_status(start_service: Start, pool: str) -> None:
    """A forged message that is no JSON ends Celery: a supervisor that looks at the status starts it again."""
    service = start_service()
    url = (service.home / "run" / "redis-url").read_text()
    os.kill(service.pids("worker", "run")[0], signal.SIGSTOP)
    second = subprocess.Popen(
        [sys.executable, "-m", "shared.cli", "worker", "run", "--pool", pool],
        env={**os.environ, **service.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with redis.Redis.from_url(url) as client:
            wait_until(lambda: client.smembers("plainfilm:_kombu.binding.stat"), "the queue to be declared")
            wait_until(lambda: two_workers(service), "the second worker")
            client.rpush("plainfilm:stat", *[b"\xff no message"] * 3)  # the frozen worker may be given one, and no more
            assert second.wait(40) == 1
    finally:
        os.kill(service.pids("worker", "run")[0], signal.SIGCONT)
        with suppress(ProcessLookupError):
            os.killpg(second.pid, signal.SIGKILL)
        second.wait()


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
    second = subprocess.Popen(
        [sys.executable, "-m", "shared.cli", "worker", "run"],
        env={**os.environ, **service.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: service.http.get("/readyz").json()["workers"] == 2, "two workers")
        jobs = [service.submit(film) for film in films(200)]
        assert all(service.done(job.id).status is JobState.SUCCEEDED for job in jobs)
    finally:
        os.killpg(second.pid, signal.SIGKILL)
        second.wait()
    engine = create_engine(postgres_url)
    with engine.connect() as connection:
        rows = connection.execute(select(Result.job_id, Result.worker)).all()
    engine.dispose()
    answered = [job_id for job_id, _ in rows]
    assert len(answered) == len(set(answered))
    assert {job.id for job in jobs} <= set(answered)
    assert len({worker for _, worker in rows}) == 2


def test_a_worker_without_the_films_takes_none(
    postgres_url: str, broker_url: str, start_service: Start, tmp_path: Path
) -> None:
    """Its PLAINFILM_HOME is another: it waits and says so, and every film is answered by the worker that has them."""
    service = start_service(PLAINFILM_DATABASE_URL=postgres_url, PLAINFILM_REDIS_URL=broker_url)
    with (tmp_path / "second.log").open("wb") as log:
        second = subprocess.Popen(
            [sys.executable, "-m", "shared.cli", "worker", "run"],
            env={**os.environ, **service.environment, "PLAINFILM_HOME": str(tmp_path / "other")},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        said = tmp_path / "second.log"
        wait_until(lambda: "films.awaited" in said.read_text() or two_workers(service), "the second worker")
        jobs = [service.submit(film) for film in films(40)]
        assert [service.done(job.id).status for job in jobs] == [JobState.SUCCEEDED] * 40
        assert "PLAINFILM_HOME" in said.read_text()
        assert not two_workers(service)
    finally:
        os.killpg(second.pid, signal.SIGKILL)
        second.wait()


def two_workers(service: Service) -> bool:
    """What /readyz says."""
    return bool(service.http.get("/readyz").json()["workers"] == 2)


@pytest.mark.parametrize("method", ["gradient", "grad_cam"])
def test_a_worker_answers_an_explanation_end_to_end(running_stack: Service, method: str) -> None:
    """Asked for over HTTP: a map of the film with its numbers, a picture, and the trail; asked again, the same one."""
    job = running_stack.done(running_stack.submit(samples.paths()[0].read_bytes()).id)
    assert job.result is not None
    address = f"/api/v1/jobs/{job.id}/explanations"
    asked = running_stack.http.post(address, json={"method": method}, headers=running_stack.headers)
    assert (asked.status_code, asked.headers["Location"]) == (202, f"{address}/{method}.json")
    found = running_stack.explained(job.id, method)
    assert (found.status, found.error, found.label) == ("done", None, max_label(job.result.probabilities))
    assert found.quality is not None
    assert found.quality.deletion[0] == pytest.approx(max(job.result.probabilities.values()), abs=1e-3)
    raw = running_stack.http.get(f"{address}/{method}.npy", headers=running_stack.headers).content
    assert hashlib.sha256(raw).hexdigest() == found.sha256
    picture = running_stack.http.get(f"{address}/{method}", headers=running_stack.headers)
    assert (picture.status_code, picture.headers["Content-Type"]) == (200, "image/png")
    again = running_stack.http.post(address, json={"method": method}, headers=running_stack.headers)
    assert (again.status_code, wire.ExplanationDetail.model_validate_json(again.content)) == (200, found)
    assert running_stack.run("audit", "verify").returncode == 0


def max_label(probabilities: Mapping[str, float]) -> str:
    """The most probable one."""
    return max(probabilities, key=lambda label: probabilities[label])


def kill_while_explaining(service: Service, job_id: str) -> bool:
    """Freeze the pool; where the map is being made just then, kill -9 all of it, else let it go on."""
    pids = service.pids("worker", "run")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    answer = service.http.get(f"/api/v1/jobs/{job_id}/explanations/smooth_grad.json", headers=service.headers)
    is_running = answer.status_code == 200 and answer.json()["status"] == "running"
    for pid in pids:
        os.kill(pid, signal.SIGKILL if is_running else signal.SIGCONT)
    return is_running


def test_an_explanation_survives_a_killed_worker(start_service: Start) -> None:
    """Kill -9 while the map is made: after the lease another worker makes it, as the second attempt."""
    service = start_service(PLAINFILM_LEASE_S="3")
    job = service.done(service.submit(next(films(1))).id)
    address = f"/api/v1/jobs/{job.id}/explanations"
    service.http.post(address, json={"method": "smooth_grad"}, headers=service.headers)
    wait_until(lambda: kill_while_explaining(service, job.id), "a worker at the map")
    found = service.explained(job.id, "smooth_grad")
    assert (found.status, found.attempt) == ("done", 2)
    assert service.run("audit", "verify").returncode == 0


def test_the_command_line_answers_every_file(running_stack: Service, tmp_path: Path) -> None:
    """`plainfilm classify`: a line a file, an error for the refused one and exit status 1 at the end."""
    good = samples.paths()[0]
    bad = tmp_path / "notes.png"
    bad.write_text("no film")
    answered = running_stack.run("classify", str(good), str(bad), str(tmp_path / "absent.png"), "--json")
    lines = [json.loads(line) for line in answered.stdout.splitlines()]
    assert answered.returncode == 1
    assert [line["file"] for line in lines] == [str(good), str(bad), str(tmp_path / "absent.png")]
    assert sum(lines[0]["probabilities"].values()) == pytest.approx(1)
    assert {"verdict", "job_id"} <= lines[0].keys()
    assert ["error" in line for line in lines] == [False, True, True]


def test_a_held_database_lock_stalls_no_other_request(running_stack: Service) -> None:
    """A submission waits 3 s for SQLite's write lock, the same process answers others; then it is accepted."""
    holder = sqlite3.connect(running_stack.home / "plainfilm.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(running_stack.submit, next(films(1)))
        give_back_at, answers = time.monotonic() + 3, 0
        while time.monotonic() < give_back_at:
            assert httpx.get(f"{running_stack.url}/livez", timeout=30).status_code == 200
            answers += 1
            time.sleep(0.05)
        assert answers > 5  # a stalled process answers one at the most
        assert not waiting.done()
        holder.execute("ROLLBACK")
        holder.close()
        job = waiting.result()
    assert running_stack.done(job.id).status is JobState.SUCCEEDED


def test_a_ring_is_one_message_in_its_own_queue(broker_url: str) -> None:
    """A ring for a class lands once, and in no other class's queue."""
    queue = CeleryQueue(broker_url)
    with redis.Redis.from_url(broker_url) as client:
        names = {priority: f"plainfilm:{priority.value}" for priority in Priority}
        before = {priority: client.llen(name) for priority, name in names.items()}
        assert queue.classify("01234567-0123-7123-8123-0123456789ab", Priority.STAT)
        after = {priority: client.llen(name) for priority, name in names.items()}
        client.ltrim(names[Priority.STAT], 1, -1)
    assert [after[priority] - before[priority] for priority in Priority] == [1, 0, 0]
