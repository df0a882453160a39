"""Batches through the whole service: a command, a web process, a broker and a worker of their own."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from shared import wire
from tests.service import Service, films, frozen_worker

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def service(start_service: Callable[..., Service]) -> Service:
    """A service whose first films, the samples, are answered."""
    made = start_service()
    made.settle()
    return made


def look(service: Service, batch_id: str) -> wire.Batch:
    """The batch as it is now."""
    answer = service.http.get(f"/api/v1/batches/{batch_id}", headers=service.headers)
    return wire.Batch.model_validate_json(answer.content)


def counted(batch: wire.Batch) -> dict[str, int]:
    """What is not zero, by status."""
    return {state.value: number for state, number in batch.counts.items() if number}


def test_a_zip_of_twelve_films_becomes_a_batch_of_ten(service: Service, tmp_path: Path) -> None:
    """Two are refused and ten answered, by the command; the batch, its list and its table say the same."""
    path = tmp_path / "films.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for n, film in enumerate(films(12)):
            archive.writestr(f"ward/{n:02d}.png", film[:-40] if n in {3, 8} else film)
    ran = service.run("classify", str(path), "--batch", "--json")
    assert (ran.returncode, len(ran.stdout.splitlines())) == (1, 12), ran.stderr
    batch_id = ran.stderr.split()[1].rstrip(":")
    assert f"batch {batch_id}: 12 films, 10 succeeded, 2 not taken" in ran.stderr
    batch = look(service, batch_id)
    assert (batch.done, batch.total, counted(batch)) == (True, 10, {"succeeded": 10})
    assert sum(batch.verdicts.values()) == 10
    jobs = wire.JobList.model_validate_json(service.http.get(batch.links.jobs, headers=service.headers).content).jobs
    text = service.http.get(batch.links.table, headers=service.headers).text
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(text, newline=""))}
    assert [job.id for job in jobs] == list(rows)
    assert all(job.result and job.result.verdict == rows[job.id]["verdict"] for job in jobs)
    assert len(service.jobs()) == 10 + 12, "the samples, beside which no other film was taken"


def test_half_of_a_batch_is_cancelled(service: Service) -> None:
    """Four have their verdicts; four that wait are cancelled together, and no worker ever answers them."""
    made = service.http.post("/api/v1/batches", headers=service.headers)
    assert made.status_code == 201
    batch_id = wire.Batch.model_validate_json(made.content).id
    sent = list(films(8))
    for film in sent[:4]:
        service.done(service.submit(film, batch=batch_id).id)
    with frozen_worker(service):
        waiting = [service.submit(film, batch=batch_id).id for film in sent[4:]]
        cancelled = service.http.post(f"/api/v1/batches/{batch_id}/cancel", headers=service.headers)
        assert counted(wire.Batch.model_validate_json(cancelled.content)) == {"succeeded": 4, "cancelled": 4}
    service.done(service.submit(next(films(1))).id)  # so that the worker has been awake since
    assert counted(look(service, batch_id)) == {"succeeded": 4, "cancelled": 4}
    assert {service.job(job_id).status for job_id in waiting} == {"cancelled"}
    verified = service.run("audit", "verify")
    assert verified.returncode == 0, verified.stdout
