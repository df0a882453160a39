"""`plainfilm jobs` against a whole service: what it lists, shows, waits for, cancels and deletes."""

from __future__ import annotations

import json
from datetime import timedelta, timezone

import pytest

from shared import wire
from shared.wiring import new_job_id
from tests.service import Service, films, frozen_worker

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def answered(running_stack: Service) -> wire.Job:
    """A job of these tests, answered."""
    return running_stack.done(running_stack.submit(next(films(1))).id)


def test_a_list_is_filtered_and_cut(running_stack: Service, answered: wire.Job) -> None:
    """Newest first; as JSON a line is a job of the API; a filter that nothing passes leaves nothing."""
    command = ("jobs", "list", "--status", "succeeded", "--json")
    listed = [wire.Job.model_validate_json(line) for line in running_stack.run(*command).stdout.splitlines()]
    ids = [job.id for job in listed]
    assert answered.id in ids
    assert ids == sorted(ids, reverse=True)
    assert {job.status for job in listed} == {"succeeded"}
    assert len(running_stack.run(*command, "--limit", "3").stdout.splitlines()) == 3
    assert answered.id in running_stack.run("jobs", "list").stdout.split()
    none = running_stack.run("jobs", "list", "--until", "2020-01-01")
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "no jobs\n")
    eastern = answered.created_at.astimezone(timezone(timedelta(hours=5)))
    assert answered.id in running_stack.run("jobs", "list", "--since", eastern.isoformat()).stdout.split()


def test_what_is_known_of_a_job_is_shown(running_stack: Service, answered: wire.Job) -> None:
    """One that does not exist is said, the others are shown, and the exit status is 1."""
    unknown = new_job_id()
    ran = running_stack.run("jobs", "show", unknown, answered.id)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"{unknown}: ")
    assert answered.input.sha256 in "".join(ran.stdout.split())
    shown = running_stack.run("jobs", "show", answered.id, "--json")
    assert json.loads(shown.stdout)["result"]["verdict"] == answered.result.verdict if answered.result else False


def test_a_command_waits_for_jobs(running_stack: Service) -> None:
    """Until the last has ended; one that is unknown is an error beside them."""
    sent = [running_stack.submit(film).id for film in films(2)]
    ran = running_stack.run("jobs", "wait", *sent, "--json")
    assert ran.returncode == 0, ran.stderr
    assert [json.loads(line)["job_id"] for line in ran.stdout.splitlines()] == sent
    assert "file" not in ran.stdout
    assert all(running_stack.job(job_id).done for job_id in sent)
    assert running_stack.run("jobs", "wait", new_job_id()).returncode == 1


def test_waiting_jobs_are_cancelled_and_deleted(running_stack: Service, answered: wire.Job) -> None:
    """What has ended cannot be cancelled: that is said, and the others are; a deletion asks first, once is enough."""
    with frozen_worker(running_stack):
        waits = running_stack.submit(next(films(1))).id
        ran = running_stack.run("jobs", "cancel", answered.id, waits)
    assert (ran.returncode, ran.stdout) == (1, f"{waits} is cancelled\n")
    assert ran.stderr.startswith(f"{answered.id}: ")
    assert running_stack.run("jobs", "delete", waits).returncode == 1, "nobody said yes"
    assert running_stack.job(waits).status == "cancelled"
    for _ in range(2):
        ran = running_stack.run("jobs", "delete", "--yes", waits)
        assert (ran.returncode, ran.stdout) == (0, f"{waits} is deleted\n")
    assert "deleted on" in running_stack.run("jobs", "show", waits).stderr
