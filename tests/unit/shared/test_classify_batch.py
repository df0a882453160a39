"""`plainfilm classify --batch`, and ZIPs: films are sent into one batch, which is told at the start and summed up."""

from __future__ import annotations

import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from shared import wire
from shared.classify import run
from shared.client import Client
from shared.domain import JobState, Verdict
from tests.unit.shared.test_classify import Service, films

BATCH_ID = "01997000-0000-7000-8000-00000000ba7c"


class BatchService(Service):
    """The same service, which also makes a batch, and counts what was sent into it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent_into: list[str | None] = []
        self.made = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Batches besides jobs."""
        if request.url.path.startswith("/api/v1/batches"):
            self.made += request.method == "POST"
            return httpx.Response(201 if request.method == "POST" else 200, content=self.batch().model_dump_json())
        if request.method == "POST":
            self.sent_into.append(request.url.params.get("batch"))
        answer = super().__call__(request)
        if answer.is_success:
            job = wire.Job.model_validate_json(answer.content).model_copy(update={"batch_id": BATCH_ID})
            return httpx.Response(answer.status_code, content=job.model_dump_json())
        return answer

    def batch(self) -> wire.Batch:
        """All its films have succeeded, but for those that were deleted since: they are in it no more."""
        kept = sum(film != "deleted" for film in self.ids.values())
        own, of_it = f"/api/v1/batches/{BATCH_ID}", f"?batch={BATCH_ID}"
        links = wire.BatchLinks(self=own, jobs=f"/api/v1/jobs{of_it}", table=f"/api/v1/jobs.csv{of_it}",
                                page=f"/{of_it}", submit=f"/api/v1/jobs{of_it}", cancel=f"{own}/cancel")  # fmt: skip
        counts = {**dict.fromkeys(JobState, 0), JobState.SUCCEEDED: kept}
        return wire.Batch(id=BATCH_ID, done=True, total=kept, counts=counts, links=links,
                          verdicts=dict.fromkeys(Verdict, 0), created_at=datetime(2026, 1, 1, tzinfo=UTC))  # fmt: skip


def call(service: BatchService, paths: list[Path], *, as_batch: bool) -> int:
    """The command, as JSON."""
    with Client("http://service:8000", "pf_k", 1.0, httpx.MockTransport(service)) as client:
        return run(client, paths, as_json=True, priority="routine", as_batch=as_batch)


def test_a_batch_is_told_before_its_films_and_summed_up_after_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside the answers, which name it; a film that was refused is in none."""
    service = BatchService()
    assert call(service, films(tmp_path, "good", "bad", "good"), as_batch=True) == 1
    printed = capsys.readouterr()
    first, last = printed.err.splitlines()
    assert first == f"batch {BATCH_ID}: http://service:8000/?batch={BATCH_ID}"
    assert last == f"batch {BATCH_ID}: 3 films, 2 succeeded, 1 not taken"
    assert (service.made, service.sent_into) == (1, [BATCH_ID] * 3)
    assert [json.loads(line).get("batch_id") for line in printed.out.splitlines()] == [BATCH_ID, None, BATCH_ID]


def test_a_film_that_was_deleted_meanwhile_was_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is in the batch no more, and is told for itself, beside one that was refused."""
    assert call(BatchService(), films(tmp_path, "good", "deleted", "bad"), as_batch=True) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"batch {BATCH_ID}: 3 films, 1 succeeded, 1 deleted, 1 not taken"


def test_without_the_option_there_is_no_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is asked, and nothing told of one."""
    service = BatchService()
    assert call(service, films(tmp_path, "good"), as_batch=False) == 0
    assert (service.made, service.sent_into, capsys.readouterr().err) == (0, [None], "")


def test_a_zip_is_the_films_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each sent for itself, without its name, and told by archive and name; one that is broken is an answer."""
    path, broken = tmp_path / "films.ZIP", tmp_path / "broken.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (("ward/[b].png", "good"), ("c.png", "bad"), ("notes.txt", "good")):
            archive.writestr(name, content)
    broken.write_bytes(path.read_bytes()[:-9])
    service = BatchService()
    assert call(service, [path, broken], as_batch=False) == 1
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["file"] for answer in answers] == [f"{path}/ward/[b].png", f"{path}/c.png", str(broken)]
    assert [answer.get("error") for answer in answers] == [
        None,
        "Not a film [sic].",
        "The file is not a readable ZIP, or it is incomplete.",
    ]
    assert len(service.sent_into) == 2
