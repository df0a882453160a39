"""What may befall a worker, each on a running service: films that harm it, a wrong clock, a pause beyond its lease."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from shared.db.tables import AuditEvent, Job, Result, WorkerHeartbeat
from shared.domain import JobState
from shared.faults import Fault
from tests.chaos import proc
from tests.chaos.faulty import FAULT_FILE
from tests.chaos.hazards import CLOCK_S, Hazard, make_film
from tests.chaos.proc import Process
from tests.rig import Rig, running
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MEMORY = Path("/sys/fs/cgroup/memory")
LIMIT_BYTES = 768 << 20
"""Two workers with their children take about 400 MB; the film asks for `hazards.HOG_BYTES` more."""


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """One running service on PostgreSQL, its workers with a child each."""
    with running("postgresql", pools=["prefork"]) as made:
        yield made


def submit_among_others(rig: Rig, hazard: Hazard) -> None:
    """A harmful film amid sound ones: it fails after three attempts, and they are answered."""
    names, lost_before = [f"{hazard} {number}" for number in range(8)], logs(rig).count("lease.lost")
    before = [rig.submit(name).id for name in names[:4]]
    harmful = rig.submit(f"{hazard}", make_film(hazard)).id
    after = [rig.submit(name).id for name in names[4:]]
    ended = rig.done(harmful)
    done = [rig.done(job_id) for job_id in before + after]
    dear = max(job.attempt for job in done) - 2  # what stalled for so long, and lives, says that it lost its lease
    wait_until(lambda: logs(rig).count("lease.lost") - lost_before >= dear, "each attempt more to be accounted for")
    assert (ended.status, ended.attempt, ended.error and ended.error.code) == (JobState.FAILED, 3, "poisoned")
    assert trail(rig, harmful).count("claimed") == 3
    for name, job in zip(names, done, strict=True):
        assert job.status is JobState.SUCCEEDED
        rig.assert_once(job.id, name)


def trail(rig: Rig, job_id: str) -> list[str]:
    """The audit events of a job by name, in their order."""
    with rig.database.read() as session:
        found = select(AuditEvent.action).where(AuditEvent.subject == job_id).order_by(AuditEvent.seq)
        return list(session.scalars(found))


def test_a_film_that_kills_its_process_stops_after_three_attempts(rig: Rig) -> None:
    """It ends as poisoned; its neighbours are answered, none of them costs more than the batch it was in."""
    parents = [part.process for part in rig.workers]
    submit_among_others(rig, Hazard.KILL)
    assert [part.process for part in rig.workers] == parents


def test_so_does_a_film_that_kills_a_worker_without_a_child() -> None:
    """Both workers are started again by their supervisor, as often as it takes."""
    with running("postgresql", pools=["solo"]) as rig:
        submit_among_others(rig, Hazard.KILL)
        wait_until(lambda: count_deaths(rig) >= 3, "each death to be noted")
        assert count_deaths(rig) == 3


def count_deaths(rig: Rig) -> int:
    """How often its workers have ended."""
    return sum(len(part.statuses) for part in rig.workers)


def test_a_film_that_eats_a_workers_memory_stops_likewise(rig: Rig) -> None:
    """The kernel's OOM killer ends the pool child at each attempt, by a limit on the workers' memory.

    It may end another child as well, before the memory of the first is free: that costs no film more than its batch.
    """
    with memory_limit(rig) as folder:
        submit_among_others(rig, Hazard.HOG)
        assert read_counts(folder / "memory.oom_control")["oom_kill"] >= 3


@contextmanager
def memory_limit(rig: Rig) -> Iterator[Path]:
    """Both workers with their children in a cgroup of `LIMIT_BYTES`; skipped where none can be made."""
    folder = MEMORY / f"plainfilm-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
    except OSError as error:
        pytest.skip(f"a memory limit cannot be set here: {error}")
    try:
        move_workers(rig, folder)
        yield folder
    finally:
        move_workers(rig, MEMORY)
        folder.rmdir()


def move_workers(rig: Rig, folder: Path) -> None:
    """Parents first, so that a child that starts meanwhile comes along."""
    for part in rig.workers:
        assert part.process is not None
        for pid in (part.process.pid, *(child.pid for child in part.children())):
            (folder / "cgroup.procs").write_text(str(pid))


def read_counts(path: Path) -> Mapping[str, int]:
    """A file of lines `name number`."""
    return {name: int(number) for name, number in (line.split() for line in path.read_text().splitlines())}


def test_a_worker_that_was_stopped_beyond_its_lease_writes_nothing(rig: Rig) -> None:
    """Another worker answers; the first wakes up, and its result is refused."""
    rig.ask_for(Fault.FILM_LOADED, by=signal.SIGSTOP)
    job = rig.submit("zombie")
    frozen = wait_until(lambda: stopped(rig), "a worker to stop with its claim")
    done = rig.done(job.id)
    assert (done.status, done.attempt >= 2) == (JobState.SUCCEEDED, True)
    refusals = logs(rig).count("lease.lost")
    proc.send(frozen, signal.SIGCONT)
    wait_until(lambda: logs(rig).count("lease.lost") > refusals, "the late result to be refused")
    rig.assert_once(job.id, "zombie")


def stopped(rig: Rig) -> Process | None:
    """The pool child that stopped itself."""
    victims = rig.victims()
    found = proc.find(victims.pop()) if victims else None
    if found is not None:  # it has said that it will, and may take its time
        wait_until(lambda: proc.is_stopped(found), "it to stand still")
    return found


def logs(rig: Rig) -> str:
    """All that the workers have logged."""
    return "".join(path.read_text(errors="replace") for path in rig.keeper.logs.glob("worker*.log"))


def test_a_workers_wrong_clock_has_no_effect() -> None:
    """Three days ahead and an hour behind: films are claimed, leases end, all is dated by the database alone."""
    clocks = ({CLOCK_S: str(3 * 86400)}, {CLOCK_S: "-3600", FAULT_FILE: ""})  # the first is the one to die
    began = datetime.now(UTC)  # before the workers: one that dies early has said last at its start that it lives
    with running("postgresql", each=clocks) as rig:
        jobs = [rig.submit(f"clock {number}") for number in range(40)]
        rig.ask_for(Fault.CLAIM_COMMITTED)

        def die() -> set[int]:
            jobs.append(rig.submit(f"clock {len(jobs)}"))
            return rig.victims()

        wait_until(die, "the first worker to die with its claim")
        done = [rig.done(job.id) for job in jobs]
        assert {job.status for job in done} == {JobState.SUCCEEDED}
        assert min(job.attempt for job in done) == 1 < max(job.attempt for job in done)
        moments = told_moments(rig)
        assert len(moments) > 3 * len(jobs)
        assert all(began <= moment <= datetime.now(UTC) for moment in moments)


def told_moments(rig: Rig) -> list[datetime]:
    """Every moment that workers had a hand in writing."""
    written = (Job.started_at, Job.finished_at, Result.created_at, WorkerHeartbeat.polled_at)
    with rig.database.read() as session:
        found = [moment for column in written for moment in session.scalars(select(column))]
        events = session.scalars(select(AuditEvent.at).where(AuditEvent.actor.startswith("worker:")))
        return [*(moment for moment in found if moment), *map(datetime.fromisoformat, events)]
