"""The table of faults, row by row, each on a running service.

The other rows: kills at each point of a film's way, and the client's retry with its key: `test_fault_points`; random
kills of everything, a flushed broker, forged messages: `test_chaos`; what befalls workers: `test_fault_worker`;
SQLite's lock held, a hung broker, damaged films: `test_service`; a film that bloats or hangs its decoder:
`test_sandbox`; an older, newer or absent schema: `test_health`; a damaged model: `test_boot`; a full database:
`test_database`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import func, select

from shared import wire
from shared.db import jobs
from shared.db.engine import Database, make_engine
from shared.db.film_folder import MARK
from shared.db.jobs import NewJob
from shared.db.tables import AuditEvent, Job
from shared.domain import JobState, Priority
from shared.wiring import Resources, new_job_id
from tests.chaos.keeper import Part
from tests.fakes import FixedClock, RecordingQueue
from tests.jobs import claim, claimant, listen, make_facts, make_job
from tests.rig import Rig, running
from tests.waiting import LIMIT_S, wait_until
from worker.sweep import sweep

pytestmark = [pytest.mark.integration, pytest.mark.slow]

BULK = 10_000
SLOW_CLIENTS = 300
DISK_MB = 2
STARTED = "worker.started"
"""What a worker's child logs once it can work."""


@pytest.fixture(scope="module")
def on_sqlite() -> Iterator[Rig]:
    """One running service on SQLite, which goes on until its disk is full."""
    with running("sqlite", PLAINFILM_MIN_FREE_BYTES="0") as made:
        yield made


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_rolling_restart_under_load_costs_nothing(database: str) -> None:
    """SIGTERM to each worker and to the web server while films come: all end with status 0, no film is tried twice."""
    with running(database, film_ms=150, PLAINFILM_LEASE_S="60") as rig, ThreadPoolExecutor(4) as senders:
        keys = [f"rolling {number}" for number in range(60)]
        sent = [senders.submit(rig.submit, key) for key in keys]
        for place, part in enumerate((*rig.workers, *rig.webs)):
            wait_until(lambda after=15 * (place + 1): count_done(sent) >= after, "films to be accepted")
            restart(rig, part)
        found = [rig.done(answer.result().id) for answer in sent]
        assert Counter((job.status, job.attempt) for job in found) == {(JobState.SUCCEEDED, 1): len(keys)}
        assert [part.statuses for part in (*rig.workers, *rig.webs)] == [[0], [0], [0]]
        for job, key in zip(found, keys, strict=True):
            rig.assert_once(job.id, key)


def count_done(sent: list[Future[wire.Job]]) -> int:
    """How many films are accepted."""
    return sum(answer.done() for answer in sent)


def restart(rig: Rig, part: Part) -> None:
    """Ask it to end, as a supervisor would, and wait for its successor: a worker is one once it has its model."""
    assert part.process is not None
    starts = log_of(rig, part).count(STARTED)
    os.kill(part.process.pid, signal.SIGTERM)
    wait_until(lambda: part.statuses, f"{part.name} to end")
    if part in rig.workers:
        wait_until(lambda: log_of(rig, part).count(STARTED) > starts, f"{part.name} to start again")


def test_a_database_that_goes_away_is_told_and_waited_for() -> None:
    """503 with Retry-After while it is gone; workers live on; films go on afterwards, those in hand included."""
    with running("postgresql", film_ms=300) as rig:
        before = [rig.submit(f"before {number}") for number in range(12)]

        def has_films_in_hand() -> bool:
            before.append(rig.submit(f"before {len(before)}"))
            return count_running(rig) > 0

        wait_until(has_films_in_hand, "films in hand")
        workers = [part.process for part in rig.workers]
        with away(rig.postgres):
            refused = wait_until(lambda: answered(rig, 503), "a film to be refused")
            assert int(refused.headers["Retry-After"]) > 0
            assert refused.json()["code"] == "database_down"
            assert [status(rig, path) for path in ("/readyz", "/livez")] == [503, 200]
        after = [rig.submit(key) for key in ("meanwhile", "after")]
        assert {rig.done(job.id).status for job in (*before, *after)} == {JobState.SUCCEEDED}
        for number, job in enumerate(before):
            rig.assert_once(job.id, f"before {number}")
        assert [part.process for part in rig.workers] == workers


def test_a_worker_started_without_its_database_waits_for_it() -> None:
    """No crash loop: the first child of the new worker is the one that answers, once the server is there."""
    with running("postgresql") as rig:
        worker = rig.workers[0]
        with away(rig.postgres):
            for part in rig.workers:
                assert part.process is not None
                os.kill(part.process.pid, signal.SIGKILL)
            wait_until(lambda: all(part.statuses for part in rig.workers), "both workers to end")
            wait_until(lambda: "database.awaited" in log_of(rig, worker), "a child that waits")
        assert rig.done(rig.submit("later").id).status is JobState.SUCCEEDED
        assert [part.statuses for part in rig.workers] == [[-signal.SIGKILL]] * 2
        assert "worker.not_started" not in log_of(rig, worker)


def test_three_hundred_slow_uploads_stall_nobody_else(on_sqlite: Rig) -> None:
    """Clients that send a byte now and then keep their connections; others are answered, and their films too."""
    with ExitStack() as stack:
        slow = [begin_upload(on_sqlite, stack) for _ in range(SLOW_CLIENTS)]
        for number in range(5):
            for client in slow:
                client.sendall(b"x")
            assert status(on_sqlite, "/livez") == 200
            assert on_sqlite.done(on_sqlite.submit(f"among the slow {number}").id).status is JobState.SUCCEEDED


def begin_upload(rig: Rig, stack: ExitStack) -> socket.socket:
    """A connection, open as long as the stack is, on which a film of 100,000 bytes is announced."""
    address = urlsplit(rig.urls[0])
    connection = stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=LIMIT_S))
    connection.sendall(
        f"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {rig.key}\r\n"
        "Content-Type: image/png\r\nContent-Length: 100000\r\n\r\n".encode()
    )
    return connection


def test_a_full_disk_refuses_and_keeps_what_it_has(on_sqlite: Rig) -> None:
    """507, no row and no half film; once there is room again films are taken, without a restart."""
    films = on_sqlite.home / "films"
    on_sqlite.done(on_sqlite.submit("before the disk was full").id)
    with small_disk(films):
        ballast = fill(films)
        refused = on_sqlite.send("too much")
        assert refused is not None
        assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
        assert int(refused.headers["Retry-After"]) > 0
        assert {path for path in films.rglob("*") if path.is_file()} == {ballast, films / MARK}
        assert count_rows(on_sqlite, "too much") == 0
        ballast.unlink()
        job = on_sqlite.done(on_sqlite.submit("too much").id)
    assert job.status is JobState.SUCCEEDED
    on_sqlite.assert_once(job.id, "too much")


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of `DISK_MB` over the films' folder, marked as that is; skipped where none can be mounted."""
    mark = (folder / MARK).read_bytes()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        (folder / MARK).write_bytes(mark)
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write until not a byte more goes in; the file that takes the room."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as handle, suppress(OSError):
        while handle.write(bytes(4096)):
            pass
    assert shutil.disk_usage(folder).free == 0
    return ballast


def test_films_are_taken_and_answered_without_a_broker() -> None:
    """It is dead, not only hung: 202 all the same, and polls answer; then it is back, and rings are heard again."""
    with running("sqlite") as rig:
        with away(rig.broker):
            found = [rig.send(f"no broker {number}") for number in range(12)]
            assert {answer and answer.status_code for answer in found} <= {202, 200}  # 200: a poll was as quick
            ids = [wire.Job.model_validate_json(answer.content).id for answer in found if answer]
            assert {rig.done(job_id).status for job_id in ids} == {JobState.SUCCEEDED}
        wait_until(lambda: (answer := rig.get("/readyz")) and answer.json()["broker"] == "up", "the broker")
        assert rig.done(rig.submit("broker is back").id).status is JobState.SUCCEEDED
        assert [part.statuses for part in (*rig.workers, *rig.webs)] == [[], [], []]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_stat_film_passes_ten_thousand_bulk_films(database: str) -> None:
    """Between its acceptance and its claim at most two batches a worker begin: those in hand, and one more."""
    with running(database) as rig:
        first = rig.done(rig.submit("bulk", priority=Priority.BULK).id)
        queue_bulk(rig, first.id)
        job = rig.submit("urgent", priority=Priority.STAT)
        assert rig.done(job.id).status is JobState.SUCCEEDED
        assert waited_before(rig, job.id) > 0.1 * BULK
        assert claims_between(rig, job.id) <= 2 * len(rig.workers) * 4


def queue_bulk(rig: Rig, job_id: str) -> None:
    """So many jobs over one stored film, in one transaction."""
    with rig.database.read() as session:
        source = session.get_one(Job, job_id)
    with jobs.changing(rig.database) as changes:
        for _ in range(BULK):
            changes.insert_queued(
                NewJob(new_job_id(), source.tenant, source.owner, None, make_facts(), source.blob_ref,
                       Priority.BULK, 3, "bulk")
            )  # fmt: skip


def waited_before(rig: Rig, job_id: str) -> int:
    """How many of them were not yet claimed when this one was accepted."""
    with rig.database.read() as session:
        accepted = select(AuditEvent.seq).where(AuditEvent.subject == job_id, AuditEvent.action == "accepted")
        claimed = (
            select(func.count())
            .select_from(AuditEvent)
            .where(AuditEvent.action == "claimed", AuditEvent.seq < accepted.scalar_subquery())
        )
        return BULK - (session.scalar(claimed) or 0)


def claims_between(rig: Rig, job_id: str) -> int:
    """How many films of others were claimed between this one's acceptance and its claim."""
    with rig.database.read() as session:
        mine = select(AuditEvent.action, AuditEvent.seq).where(AuditEvent.subject == job_id)
        when = dict(session.execute(mine).all())
        between = AuditEvent.seq.between(when["accepted"], when["claimed"] - 1)
        claimed = select(func.count()).select_from(AuditEvent).where(between, AuditEvent.action == "claimed")
        return session.scalar(claimed) or 0


def test_two_sweepers_at_once_do_everything_once(resources: Resources, database_url: str, clock: FixedClock) -> None:
    """Each lease that is over is given back once, each film past its time ended once, each silent film rung once."""
    with ExitStack() as stack:
        opened = [Database(make_engine(database_url), clock) for _ in range(2)]
        for database in opened:
            stack.callback(database.close)
        both = [replace(resources, database=database, queue=RecordingQueue(waiting=0)) for database in opened]
        listen(opened[0], *Priority)
        held = [make_job(opened[0]) for _ in range(60)]
        claim(opened[0], claimant(limit=60))
        late = [make_job(opened[0], expires_in_s=5) for _ in range(30)]
        clock.advance(60)
        start = threading.Barrier(2)

        def sweep_all(number: int) -> None:
            start.wait()
            for _ in range(5):
                sweep(both[number], f"w{number}")

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(sweep_all, range(2)))
        with opened[0].read() as session:
            told = Counter(map(tuple, session.execute(select(AuditEvent.subject, AuditEvent.action))))
        assert {told[job_id, "requeued"] for job_id in held} == {1}
        assert {told[job_id, "expired"] for job_id in late} == {1}
        rung = Counter(ring for one in both for ring in one.queue.rings)
        assert rung == dict.fromkeys(((job_id, Priority.ROUTINE) for job_id in held), 1)


@contextmanager
def away(part: Part | None) -> Iterator[None]:
    """A server that is dead until the block ends."""
    assert part is not None
    assert part.process is not None
    part.held_until = time.monotonic() + 2 * LIMIT_S
    os.kill(part.process.pid, signal.SIGKILL)
    try:
        wait_until(lambda: part.process is None, f"{part.name} to end")
        yield
    finally:
        part.held_until = 0.0


def answered(rig: Rig, code: int) -> httpx.Response | None:
    """The answer to a film where it has this status."""
    answer = rig.send("meanwhile")
    return answer if answer is not None and answer.status_code == code else None


def status(rig: Rig, path: str) -> int:
    """What an address answers with; 0 where the connection broke."""
    answer = rig.get(path)
    return answer.status_code if answer is not None else 0


def count_running(rig: Rig) -> int:
    """How many films are in hand."""
    with rig.database.read() as session:
        return session.scalar(select(func.count()).select_from(Job).where(Job.state == JobState.RUNNING)) or 0


def count_rows(rig: Rig, key: str) -> int:
    """How many jobs have this key."""
    with rig.database.read() as session:
        return session.scalar(select(func.count()).select_from(Job).where(Job.idempotency_key == key)) or 0


def log_of(rig: Rig, part: Part) -> str:
    """All that a part has logged."""
    return (rig.keeper.logs / f"{part.name}.log").read_text(errors="replace")
