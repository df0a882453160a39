"""The table of jobs: every job once, every column as the API says it, whatever the page it is read by."""

from __future__ import annotations

import csv
import io
import threading

import pytest

from shared import wire
from shared.wiring import Resources
from tests.api import Api, make_key, make_tenant
from tests.jobs import claim, finish, make_job
from web.api import export


def table(api: Api, query: str = "") -> list[dict[str, str]]:
    """As a program reads it."""
    answer = api.get(f"/api/v1/jobs.csv{query}")
    assert (answer.status_code, answer.mimetype) == (200, "text/csv")
    assert "plainfilm-jobs.csv" in answer.headers["Content-Disposition"]
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def test_every_job_has_its_line_whatever_the_page(api: Api, small: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven jobs, three a page; none of another tenant."""
    made = [make_job(small.database) for _ in range(7)]
    make_tenant(small.database, "clinic")
    make_job(small.database, tenant="clinic")
    monkeypatch.setattr(export, "PAGE", 3)
    assert [row["id"] for row in table(api)] == made[::-1]
    clinic = Api(small, make_key(small.database, tenant="clinic"))
    assert len(table(clinic)) == 1


def test_a_line_says_what_the_job_says(api: Api, small: Resources) -> None:
    """Empty cells where there is no result; labels by their own columns."""
    job_id = make_job(small.database)
    finish(small.database, claim(small.database)[0])
    waiting = make_job(small.database)
    rows = {row["id"]: row for row in table(api)}
    job = wire.Job.model_validate_json(api.get(f"/api/v1/jobs/{job_id}").data)
    assert job.result
    assert job.model
    found = rows[job_id]
    assert (found["status"], found["verdict"], found["p_normal"], found["p_covid19"]) == (
        "succeeded",
        "normal",
        "0.8",
        "0.1",
    )
    assert (found["prediction_set"], found["reasons"], found["p_other"]) == ("normal", "", "")
    assert (found["model_sha256"], found["device"]) == (job.model.sha256, job.result.device)
    assert found["created_at"] == job.created_at.isoformat().replace("+00:00", "Z")
    assert (rows[waiting]["status"], rows[waiting]["verdict"], rows[waiting]["model"]) == ("queued", "", "")


def test_what_is_asked_for_is_what_comes(api: Api, small: Resources) -> None:
    """By status and verdict; nothing but a head where nothing fits."""
    for _ in range(2):
        make_job(small.database)
    finish(small.database, claim(small.database)[0])
    assert len(table(api, "?verdict=normal")) == len(table(api, "?status=succeeded")) == 1
    assert table(api, "?verdict=covid19") == table(api, "?until=2020-01-01T00:00:00Z") == []


def test_who_reads_slowly_keeps_nobody_waiting(api: Api, small: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside many tables of which one page was read, others come whole; what is wrong is told before a line."""
    made = [make_job(small.database) for _ in range(3)]
    monkeypatch.setattr(export, "PAGE", 1)
    begun = [
        api.client.get("/api/v1/jobs.csv", headers={"Authorization": f"Bearer {api.key}"}, buffered=False)
        for _ in range(2 * export.MOST_AT_ONCE)
    ]
    assert [row["id"] for row in table(api)] == made[::-1]
    assert api.get("/api/v1/jobs.csv?limit=1").status_code == 400
    assert begun[0].text.count("\r\n") == len(made) + 1
    for answer in begun:
        answer.close()


def test_no_more_pages_are_read_at_once_than_a_process_can_bear(small: Resources) -> None:
    """The next one waits until a seat is left, and has its turn then."""
    make_job(small.database)
    seats = threading.BoundedSemaphore(1)
    lines: list[str] = []
    pages = export.read_pages(small.database, seats, "default", wire.ListQuery(limit=1))
    reader = threading.Thread(target=lambda: lines.extend(pages), daemon=True)
    with seats:
        reader.start()
        reader.join(0.2)
        assert lines == []
    reader.join(60)
    assert [each.count("\r\n") for each in lines] == [2]
