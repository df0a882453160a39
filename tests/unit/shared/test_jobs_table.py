"""Jobs in a terminal: what a list and a job's details say, and that nothing is cut off at 80 columns."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from shared import jobs_table, wire
from shared.domain import Priority, Verdict
from tests.wire_jobs import JOB_ID, make_wire_job, make_wire_result

ENDED = datetime(2026, 1, 1, 0, 1, 2, tzinfo=UTC)


def draw(table: Table) -> list[list[str]]:
    """The lines of a terminal of 80 columns, as words."""
    file = io.StringIO()
    Console(file=file, width=80).print(table)
    return [line.split() for line in file.getvalue().splitlines()]


def test_a_list_has_a_row_for_each_job() -> None:
    """With its whole id, and what came of it: the verdict and its label's share, the error, or nothing yet."""
    jobs = [
        make_wire_job(status="succeeded", result=make_wire_result()),
        make_wire_job(status="succeeded", result=make_wire_result(verdict=Verdict.VIRAL_PNEUMONIA)),
        make_wire_job(status="succeeded", result=make_wire_result(verdict=Verdict.UNCERTAIN)),
        make_wire_job(status="failed", error=wire.JobError.of("poisoned", "Three workers died of it.")),
        make_wire_job(),
    ]
    made = ["2026-01-01", "00:00"]
    assert draw(jobs_table.make_list(jobs)) == [
        ["job", "made", "(UTC)", "outcome"],
        [JOB_ID, *made, "normal", "80%"],
        [JOB_ID, *made, "viral_pneumonia", "10%"],
        [JOB_ID, *made, "uncertain"],
        [JOB_ID, *made, "failed:", "poisoned"],
        [JOB_ID, *made, "queued"],
    ]


def details(job: wire.Job) -> dict[str, str]:
    """Name to value; a value of several lines is joined by spaces."""
    file = io.StringIO()
    Console(file=file, width=200).print(jobs_table.make_details(job, lambda path: f"http://films.example{path}"))
    said: dict[str, str] = {}
    name = ""
    for line in file.getvalue().splitlines():
        head, _, value = line.partition("  ")
        name = head or name
        said[name] = f"{said.get(name, '')} {value.strip()}".strip()
    return said


def test_details_of_a_job_that_waits() -> None:
    """Its place in the queue, when it expires, and no row for what is not known yet."""
    job = make_wire_job(queue_position=3, eta_s=12, expires_at=ENDED, priority=Priority.STAT)
    found = details(job)
    assert found["status"] == "queued, about 3 ahead, result in about 12 s"
    assert (found["priority"], found["expires"]) == ("stat", "2026-01-01 00:01:02 UTC")
    assert not found.keys() & {"started", "ended", "model", "result", "error", "batch", "deleted after"}


def test_details_of_a_job_that_was_answered() -> None:
    """The model by name and digest, the whole result, and the page."""
    model = wire.ModelRef(name="films[1]", version="7", sha256="c" * 64, preprocessing="p")
    job = make_wire_job(status="succeeded", model=model, result=make_wire_result(), finished_at=ENDED,
                        expires_at=ENDED, retain_until=ENDED, batch_id=JOB_ID)  # fmt: skip
    found = details(job)
    assert found["model"] == f"films[1] 7, SHA-256 {'c' * 64}"
    assert found["result"] == "normal normal 80%  covid19 10%  viral_pneumonia 10% another finding 7% set: normal"
    assert found["film"] == f"png, 64 x 48, 8 bits, SHA-256 {'a' * 64}"
    assert found["page"] == f"http://films.example/jobs/{JOB_ID}"
    assert {"ended", "deleted after", "batch"} <= found.keys()
    assert "expires" not in found


def test_details_of_a_job_that_failed() -> None:
    """The code, and the sentence, in which brackets are no style."""
    found = details(make_wire_job(status="failed", error=wire.JobError.of("poisoned", "Three [red]workers died.")))
    assert found["error"] == "poisoned: Three [red]workers died."
