"""`/metrics`: gauges of all tenants, right to the number, for whom they are meant, as Prometheus reads them."""

from __future__ import annotations

import os
import re
import shutil
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from shared import home
from shared.db import jobs
from shared.db.tables import Job, WorkerHeartbeat
from shared.domain import Priority
from shared.version import CODE_VERSION
from shared.wiring import Resources
from tests.api import Api, make_key, make_tenant
from tests.api_answers import problem
from tests.explanations import make_explanation, make_result
from tests.fakes import RecordingQueue
from tests.jobs import claim, claimant, make_job, register_model

ARCHITECTURE = Path(__file__).resolve().parents[3] / "ARCHITECTURE.md"

Values = dict[tuple[str, ...], float]


def scrape(resources: Resources) -> Values:
    """Each gauge by its name without `plainfilm_`, and its label's value where it has one."""
    answer = Api(resources, make_key(resources.database)).get("/metrics")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    families = list(text_string_to_metric_families(answer.text))
    assert all(family.type == "gauge" and family.documentation for family in families)
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name.removeprefix("plainfilm_"), *sample.labels.values()): sample.value for sample in samples}


def test_an_idle_service_shows_every_gauge(resources: Resources) -> None:
    """Nothing waits and nobody works; a rule never lacks its series. The document names them all, and no other."""
    found = scrape(resources)
    rows = [row for row in ARCHITECTURE.read_text(encoding="utf-8").splitlines() if row.startswith("| `plainfilm_")]
    named = set(re.findall(r"`plainfilm_(\w+)`", "\n".join(rows)))
    assert {name for name, *_ in found} == named - {"failed_jobs_per_second"}  # its codes are those that were met
    free_bytes = shutil.disk_usage(resources.settings.home).free
    assert found.pop(("disk_free_bytes",)) == pytest.approx(free_bytes, rel=0.2)
    up = ("broker_up", "disk_up", "database_writable", "films_writable")
    assert {name: found.pop((name,)) for name in up} == dict.fromkeys(up, 1)
    assert found.pop(("build_info", CODE_VERSION)) == 1
    assert set(found.values()) == {0}
    assert {("queued_films", priority.value) for priority in Priority} < found.keys()


def test_a_disk_that_does_not_say_keeps_no_other_gauge(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is silent is when the others are looked at."""
    monkeypatch.setattr(home, "free_bytes", lambda _settings: Path("/not/there").stat().st_size)
    found = scrape(resources)
    assert found["disk_up",] == 0
    assert found["queued_films", "stat"] == 0
    assert ("disk_free_bytes",) not in found


def test_a_folder_of_films_that_is_read_only_shows(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else: results are read as before."""
    is_allowed, films = os.access, home.nearest_folder(resources.settings.blobs)
    monkeypatch.setattr(os, "access", lambda path, mode: path != films and is_allowed(path, mode))
    found = scrape(resources)
    assert found["films_writable",] == 0
    assert found["disk_up",] == 1


def test_a_films_disk_that_hangs_counts_as_read_only(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other gauges are answered."""

    def hang(_settings: object) -> bool:
        raise TimeoutError

    monkeypatch.setattr(home, "is_open_to_films", hang)
    found = scrape(resources)
    assert found["films_writable",] == 0
    assert found["queued_films", "stat"] == 0


def test_a_database_that_is_read_only_shows(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's by its file; whether PostgreSQL says so is tested with the doctor, which asks the same."""
    is_allowed, file = os.access, Path(resources.database.engine.url.database or "")
    monkeypatch.setattr(os, "access", lambda path, mode: path != file and is_allowed(path, mode))
    assert scrape(resources)["database_writable",] == 0


def test_what_waits_is_counted_by_class_over_all_tenants(resources: Resources) -> None:
    """What runs, or has ended, waits no more."""
    make_result(resources.database)
    make_tenant(resources.database, "ward-7")
    for tenant, priority in (("default", Priority.BULK), ("ward-7", Priority.BULK), ("ward-7", Priority.STAT)):
        make_job(resources.database, tenant=tenant, priority=priority)
    claim(resources.database, claimant(limit=1))
    found = scrape(resources)
    assert [found["queued_films", priority] for priority in ("stat", "routine", "bulk")] == [0, 0, 2]
    assert found["running_films",] == 1
    assert found["finished_films_per_second",] == pytest.approx(1 / 60)


def test_the_age_is_that_of_the_film_that_came_first(resources: Resources) -> None:
    """Of three films one came an hour ago; a class in which none waits has no age."""
    first, *_ = [make_job(resources.database, priority=Priority.ROUTINE) for _ in range(3)]
    with resources.database.begin() as session:
        an_hour_ago = resources.database.now(session) - timedelta(hours=1)
        made_then = UUID(int=(int(an_hour_ago.timestamp() * 1000) << 80) | (UUID(first).int & ((1 << 80) - 1)))
        session.execute(update(Job).where(Job.id == first).values(id=str(made_then)))
    found = scrape(resources)
    assert found["queued_films", "routine"] == 3
    assert found["oldest_queued_film_seconds", "routine"] == pytest.approx(3600, abs=60)
    assert found["oldest_queued_film_seconds", "stat"] == found["oldest_queued_film_seconds", "bulk"] == 0


def test_workers_and_maps_are_counted(resources: Resources) -> None:
    """By what they serve, and only those that have polled lately."""
    make_explanation(resources.database, make_result(resources.database))
    sha256 = register_model(resources.database)
    with resources.database.begin() as session:
        now = resources.database.now(session)
        for name, queues, age_s in (("a", "stat", 1), ("b", "stat,explain", 1), ("c", "explain", 1), ("d", "stat", 60)):
            beat = WorkerHeartbeat(worker=name, queues=queues, model_sha256=sha256, device="cpu", started_at=now)
            beat.polled_at = now - timedelta(seconds=age_s)
            session.add(beat)
    found = scrape(resources)
    assert (found["workers",], found["explainers",], found["queued_explanations",]) == (2, 2, 1)
    served = {queue: found["queue_workers", queue] for queue in ("stat", "routine", "bulk", "explain")}
    assert served == {"stat": 2, "routine": 0, "bulk": 0, "explain": 2}


def test_ends_are_counted_by_their_kind_and_failures_by_their_code(resources: Resources) -> None:
    """Two succeeded, one was cancelled, one failed; what ended earlier plays no part."""
    for _ in range(2):
        make_result(resources.database)
    old, cancelled, _ = make_result(resources.database), make_job(resources.database), make_job(resources.database)
    with jobs.changing(resources.database) as changes:
        changes.cancel("default", cancelled, "key:testkey")
    [held] = claim(resources.database)
    with jobs.changing(resources.database) as changes:
        changes.fail(held, "worker:w1", "blob_missing", "The stored film is missing.")
        changes.sql.execute(update(Job).where(Job.id == old).values(finished_at=changes.now - timedelta(minutes=2)))
    found = scrape(resources)
    ends = {name: round(60 * found["ended_jobs_per_second", name]) for name in ("succeeded", "failed", "cancelled")}
    assert ends == {"succeeded": 2, "failed": 1, "cancelled": 1}
    assert found["ended_jobs_per_second", "expired"] == 0
    assert found["failed_jobs_per_second", "blob_missing"] == pytest.approx(1 / 60)


def test_a_broker_that_is_down_shows(resources: Resources) -> None:
    """The rest is as before."""
    assert isinstance(resources.queue, RecordingQueue)
    resources.queue.down = True
    assert scrape(resources)["broker_up",] == 0


@pytest.mark.parametrize(("role", "status"), [("auditor", 200), ("uploader", 403), ("reviewer", 403)])
def test_who_may_see_them(resources: Resources, role: str, status: int) -> None:
    """They are of all tenants, so not everybody."""
    answer = Api(resources, make_key(resources.database, role=role)).get("/metrics")
    assert answer.status_code == status
    if status == 403:
        assert "an admin's or an auditor's key" in problem(answer, 403, "forbidden").detail


def test_nobody_else_may(resources: Resources) -> None:
    """Unlike `/readyz`."""
    problem(Api(resources, None).get("/metrics"), 401, "unauthorized")
