"""The whole service as a user runs it: from a film to its stored verdict, through stops, kills and damage."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest
import redis
from sqlalchemy import create_engine, text

from shared import samples, wire
from shared.domain import JobState, Priority
from shared.queueing import CeleryQueue
from tests.service import Service, films, frozen_worker, stands_still
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

Start = Callable[..., Service]


def test_the_first_page_has_verdicts_and_a_restart_keeps_them(start_service: Start) -> None:
    """Sample films are queued at the first start, answered, and still there after a stop and a start."""
    service = start_service()
    wait_until(lambda: len(service.jobs()) == len(samples.paths()), "the samples to be queued")
    before = {job.id: service.done(job.id) for job in service.jobs()}
    assert all(job.result is not None for job in before.values())
    service.stop()
    again = start_service(service.home)
    assert {job.id: again.job(job.id) for job in again.jobs()} == before
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


def test_who_reads_its_lines_may_go(start_service: Start) -> None:
    """`plainfilm up | tee` at Ctrl-C, which ends tee as well: what dies starts again, and all ends in order."""
    service = start_service()
    assert service.process is not None
    assert service.process.stdout is not None
    service.process.stdout.close()
    (worker,) = service.pids("worker.run")
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: service.pids("worker.run") not in ([], [worker]), "the next worker")
    service.stop(signal.SIGINT)
    assert list((service.home / "run").glob("*url*")) == []


def test_so_many_workers_start_as_are_set(start_service: Start) -> None:
    """Each alive by its own name and log, and each started again when it dies."""
    service = start_service(PLAINFILM_WORKERS="2")
    wait_until(lambda: httpx.get(f"{service.url}/readyz", timeout=60).json()["workers"] == 2, "two workers to be alive")
    first, second = service.pids("worker.run")
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: len(service.pids("worker.run")) == 2 and second not in service.pids("worker.run"), "its next")
    assert first in service.pids("worker.run")
    assert {"worker.log", "worker-2.log"} <= {path.name for path in (service.home / "logs").iterdir()}


def test_a_killed_supervisor_leaves_nothing_behind(start_service: Start) -> None:
    """After SIGKILL of `plainfilm up` the kernel ends every part of it."""
    service = start_service()
    assert len(service.pids()) >= 4, "itself, broker, worker and web server"
    service.process.kill()
    service.process.wait()
    wait_until(lambda: service.pids() == [], f"all parts to end: {service.pids()}")


def test_what_only_the_start_needed_is_given_back(running_stack: Service) -> None:
    """The process that watches keeps no database library, and no dead child."""
    assert running_stack.process is not None
    wait_until(lambda: len(running_stack.jobs()) >= len(samples.paths()), "the samples to be queued")
    watch = psutil.Process(running_stack.process.pid)
    wait_until(lambda: len(watch.children()) == 3, f"three parts: {watch.children()}")
    assert not [m.path for m in watch.memory_maps() if "sqlite" in m.path or "sqlalchemy" in m.path]
    web = psutil.Process(running_stack.pids("web.serve")[0])
    assert [m.path for m in web.memory_maps() if "sqlalchemy" in m.path]  # so that one would be seen


def test_nothing_is_written_outside_of_its_home(start_service: Start, tmp_path: Path) -> None:
    """Keras and its libraries keep files in the home of whoever runs them, unless told otherwise."""
    user = tmp_path / "user"
    user.mkdir()
    service = start_service(HOME=str(user))
    job = service.submit(next(films(1)))
    service.done(job.id)
    asked = service.http.post(
        f"/api/v1/jobs/{job.id}/explanations", data={"method": "gradient"}, headers=service.headers
    )
    assert asked.status_code == 202
    assert service.explained(job.id, "gradient").status == "succeeded"
    assert (list(user.iterdir()), (service.home / "cache").is_dir()) == ([], True)


def test_who_connects_while_the_web_process_starts_again_waits(start_service: Start) -> None:
    """The supervisor holds the port: nobody is refused."""
    service = start_service()
    (web,) = service.pids("web.serve")
    os.kill(web, signal.SIGKILL)
    assert httpx.get(f"{service.url}/livez", timeout=60).status_code == 200
    assert service.pids("web.serve") not in ([], [web])


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
    service.stop()


def stop(pids: Sequence[int]) -> None:
    """Have them stand still; what is seen then stays so."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(map(stands_still, pids)), "the worker to stand still")


def kill_in_mid_batch(service: Service) -> list[int]:
    """Freeze the pool; where a film is running just then, kill -9 all of it, else let it go on.

    A pool frozen inside a write holds SQLite's lock, and the question gets a 503: then it goes on too.
    """
    pids = service.pids("worker", "run")
    stop(pids)
    answer = service.http.get("/api/v1/jobs", params={"status": "running"}, headers=service.headers)
    is_running = answer.status_code == 200 and bool(answer.json()["jobs"])
    for pid in pids:
        os.kill(pid, signal.SIGKILL if is_running else signal.SIGCONT)
    return pids if is_running else []


def test_films_survive_a_killed_worker(start_service: Start) -> None:
    """Kill -9 of the pool in mid-batch: its films come through after the lease, and a new worker is there."""
    service = start_service(PLAINFILM_LEASE_S="3", PLAINFILM_BATCH_LIMIT="4")
    service.settle()
    jobs: list[wire.Job] = []

    def die() -> list[int]:
        with frozen_worker(service):  # or it keeps up with what is submitted
            jobs.extend(service.submit(film) for film in films(40))
        return kill_in_mid_batch(service)

    killed = wait_until(die, "a worker in mid-batch")
    done = [service.done(job.id) for job in jobs]
    assert all(job.status is JobState.SUCCEEDED for job in done)
    assert max(job.attempt for job in done) >= 2
    assert not set(service.pids("worker", "run")) & set(killed)
    assert service.run("audit", "verify").returncode == 0


def test_a_damaged_film_fails_alone(start_service: Start) -> None:
    """A stored film that is gone and one that was changed fail with their code; the next one succeeds."""
    service = start_service()
    service.settle()
    with frozen_worker(service):
        gone, changed, sound = [service.submit(film) for film in films(3)]
        folder = service.home / "films" / "default"
        next((folder / gone.id).iterdir()).unlink()
        blob = next((folder / changed.id).iterdir())
        blob.write_bytes(blob.read_bytes()[:-1] + b"x")
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


@pytest.mark.parametrize("method", ["gradient", "grad_cam"])
def test_a_worker_answers_an_explanation_end_to_end(running_stack: Service, method: str) -> None:
    """Asked for over HTTP: a map of the film with its numbers, a picture, and the trail; asked again, the same one."""
    job = running_stack.done(running_stack.submit(samples.paths()[0].read_bytes()).id)
    assert job.result is not None
    address = f"/api/v1/jobs/{job.id}/explanations"
    asked = running_stack.http.post(address, json={"method": method}, headers=running_stack.headers)
    assert (asked.status_code, asked.headers["Location"]) == (202, f"{address}/{method}.json")
    found = running_stack.explained(job.id, method)
    assert (found.status, found.error, found.label) == ("succeeded", None, max_label(job.result.probabilities))
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
    stop(pids)
    answer = service.http.get(f"/api/v1/jobs/{job_id}/explanations/smooth_grad.json", headers=service.headers)
    is_running = answer.status_code == 200 and answer.json()["status"] == "running"
    for pid in pids:
        os.kill(pid, signal.SIGKILL if is_running else signal.SIGCONT)
    return is_running


def test_an_explanation_survives_a_killed_worker(start_service: Start) -> None:
    """Kill -9 while the map is made: after the lease another worker makes it, as the second attempt."""
    service = start_service(PLAINFILM_LEASE_S="3")
    more, asked = films(1000), [""]

    def ask() -> None:
        asked[0] = service.done(service.submit(next(more)).id).id
        address = f"/api/v1/jobs/{asked[0]}/explanations"
        assert service.http.post(address, json={"method": "smooth_grad"}, headers=service.headers).status_code == 202

    def die() -> bool:
        if not asked[0] or service.explanation(asked[0], "smooth_grad").done:
            ask()
        return kill_while_explaining(service, asked[0])

    wait_until(die, "a worker at the map")
    found = service.explained(asked[0], "smooth_grad")
    assert (found.status, found.attempt >= 2) == ("succeeded", True)
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
    """A submission waits a second for SQLite's write lock, the same process answers others; then it is accepted."""
    with ThreadPoolExecutor(1) as pool:
        with closing(sqlite3.connect(running_stack.home / "plainfilm.db", timeout=60, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            waiting = pool.submit(running_stack.submit, next(films(1)))
            give_back_at, answers = time.monotonic() + 1, 0
            while answers < 6 or time.monotonic() < give_back_at:  # a stalled process answers none until it gives up
                assert httpx.get(f"{running_stack.url}/livez", timeout=30).status_code == 200
                answers += 1
                time.sleep(0.05)
            assert not waiting.done()
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
