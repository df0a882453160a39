"""The operations page: what an operator looks for is on it, and for nobody else."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from shared import home
from shared.db import jobs
from shared.db.tables import WorkerHeartbeat
from shared.domain import Priority
from shared.wiring import Resources
from tests.api import Api, make_key, make_tenant
from tests.fakes import RecordingQueue
from tests.jobs import claim, make_job, register_model, serve_model
from tests.webhooks import NOWHERE, cancel_job, make_dispatcher, make_webhook


def page(resources: Resources, address: str = "/operations") -> str:
    """As an auditor's browser gets it, without what stands between its words."""
    answer = Api(resources, make_key(resources.database, role="auditor")).browse().request("GET", address)
    assert answer.status_code == 200, answer.text
    return re.sub(r"\s*<[^>]+>\s*", " ", answer.text)


def test_queue_workers_and_ends_are_told(resources: Resources) -> None:
    """Over all tenants; a worker that is silent is told apart from one that lives."""
    make_tenant(resources.database, "clinic")
    for tenant, priority in (("default", Priority.STAT), ("clinic", Priority.STAT), ("clinic", Priority.BULK)):
        make_job(resources.database, tenant=tenant, priority=priority)
    serve_model(resources.database)
    held = claim(resources.database)[0]
    with jobs.changing(resources.database) as changes:
        changes.fail(held, "worker:w1", "blob_missing", "The stored film is missing.")
    sha256 = register_model(resources.database)
    with resources.database.begin() as session:
        now = resources.database.now(session)
        session.add(WorkerHeartbeat(worker="silent:7", queues="explain", model_sha256=sha256, device="gpu",
                                    started_at=now, polled_at=now - timedelta(minutes=5)))  # fmt: skip
    make_job(resources.database, priority=Priority.BULK)
    told = page(resources)
    assert re.search(r"Bulk\s+1\s+\d\s+1 ", told)
    assert re.search(r"w1\s+alive\s+stat, routine, bulk\s+fake 1\s+passed\s+cpu", told)
    assert re.search(r"silent:7\s+no heartbeat\s+explain\s+fake 1\s+absent\s+gpu", told)
    assert re.search(r"failed with\s+blob_missing\s+1 ", told)
    assert "2 films being classified" in told
    assert "Nobody takes" not in told
    assert "does not answer" not in told


def test_what_webhooks_owe_is_told_where_there_is_anything(resources: Resources) -> None:
    """One delivery to be sent."""
    assert "Webhooks" not in page(resources)
    make_webhook(resources.database, NOWHERE)
    cancel_job(resources.database)
    make_dispatcher(resources.database).look()
    assert re.search(r"Webhooks\s+1 delivery pending, 0 failed", page(resources))


def test_what_stands_still_is_told_first(resources: Resources) -> None:
    """Films of a class that nobody takes, and a dead broker; where no worker has been, that as well."""
    make_job(resources.database, priority=Priority.ROUTINE)
    assert isinstance(resources.queue, RecordingQueue)
    resources.queue.down = True
    told = page(resources, "/operations/now")
    assert told.index("No worker serves routine") < told.index("The broker does not answer") < told.index("What waits")
    assert "No worker has sent a heartbeat" in told


def test_a_disk_that_does_not_say_is_told(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the page is what its operator needs then."""
    assert "GiB free where films are stored" in page(resources)
    monkeypatch.setattr(home, "free_bytes", lambda _settings: Path("/not/there").stat().st_size)
    assert re.search(r"Disk\s+does not say how much is free\s+Version", page(resources))


def test_alerts_stay_where_they_are_while_the_numbers_change(resources: Resources) -> None:
    """What is announced is a node of its own beside what is swapped, which htmx fills by its id."""
    assert isinstance(resources.queue, RecordingQueue)
    resources.queue.down = True
    auditor = Api(resources, make_key(resources.database, role="auditor")).browse()
    whole, part = (auditor.request("GET", address).text for address in ("/operations", "/operations/now"))
    for html in (whole, part):
        alerts, numbers = html.split('<div id="operations"')
        assert "The broker does not answer" in alerts
        assert alerts.count('role="alert"') == len(re.findall('id="(?:alerts|trouble)"', alerts))
        assert 'role="alert"' not in numbers
    assert "hx-swap-oob" not in whole
    assert '<div id="alerts" role="alert" hx-swap-oob="innerHTML"' in part


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("auditor", 200), ("uploader", 403), ("reviewer", 403)])
def test_it_is_for_those_who_may_see_all_tenants(resources: Resources, role: str, status: int) -> None:
    """As `/metrics` is; the part that is asked for again, too."""
    person = Api(resources, make_key(resources.database, role=role)).browse()
    for address in ("/operations", "/operations/now"):
        assert person.request("GET", address).status_code == status
