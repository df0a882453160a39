"""A job's audit trail over the API and on its page: what it says, who may read it, what stays of a deleted job."""

from __future__ import annotations

import re
from datetime import UTC

import httpx
import pytest
from sqlalchemy import text

from shared.audit_wire import AuditTrail
from shared.client import Client, Refused
from shared.db import audit, reviews, trails
from shared.db.audit import Event
from shared.db.jobs import changing
from shared.db.keys import Principal
from shared.domain import ReaderLabel
from tests.api import Api, make_key, make_tenant
from tests.api_answers import UNKNOWN, job_of, problem
from tests.explanations import explain, fail_explanation, make_explanation
from tests.jobs import claim, finish


def send(api: Api) -> str:
    """A film that is answered; its job's id."""
    job_id = job_of(api.submit(), 202).id
    finish(api.resources.database, claim(api.resources.database)[0])
    return job_id


def other(api: Api, role: str, tenant: str = "default") -> Api:
    """The same application for another caller."""
    return Api(api.resources, make_key(api.resources.database, role=role, tenant=tenant))


def key_id(api: Api) -> str:
    """Of its key."""
    assert api.key is not None
    return api.key.split("_")[1]


def trail_of(api: Api, job_id: str, query: str = "") -> AuditTrail:
    """As it is answered."""
    response = api.get(f"/api/v1/jobs/{job_id}/audit{query}")
    assert response.status_code == 200, response.text
    return AuditTrail.model_validate_json(response.data)


def test_the_trail_has_what_happened_in_order(api: Api) -> None:
    """Who sent it, with the key's role; who took it; what was said. A job's link leads to it, its receipt into it."""
    job_id = send(api)
    job = job_of(api.get(f"/api/v1/jobs/{job_id}"), 200)
    found = trail_of(api, job_id)
    assert job.links.audit == f"/api/v1/jobs/{job_id}/audit"
    assert (found.job_id, found.tenant, found.next_cursor) == (job_id, "default", None)
    assert [event.action for event in found.events] == ["accepted", "claimed", "succeeded"]
    assert [event.actor for event in found.events] == [f"key:{key_id(api)}", "worker:w1", "worker:w1"]
    assert found.events[0].facts["role"] == "admin"
    assert found.events[2].facts["verdict"] == "normal"
    assert job.result is not None
    assert job.result.receipt is not None
    assert (job.result.receipt.seq, job.result.receipt.hash) == (found.events[2].seq, found.events[2].hash)


def test_a_reader_of_the_trail_can_work_its_hashes_out(api: Api) -> None:
    """From what is answered and nothing else."""
    job_id = send(api)
    found = trail_of(api, job_id)
    for event in found.events:
        at = event.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body = audit.canonical(Event(event.actor, event.action, found.job_id, event.facts), at)
        assert audit.link(found.tenant, event.seq, event.prev_hash, body) == event.hash


def test_the_trail_comes_page_by_page(api: Api) -> None:
    """`Link` names the next one, the last has none; nothing comes twice, and nothing of another job."""
    job_id, _ = send(api), send(api)
    path, seen = f"/api/v1/jobs/{job_id}/audit?limit=2", []
    while path:
        response = api.get(path)
        page = AuditTrail.model_validate_json(response.data)
        seen += page.events
        link = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("Link", ""))
        assert (link is None) is (page.next_cursor is None)
        path = link[1] if link else ""
    assert [event.action for event in seen] == ["accepted", "claimed", "succeeded"]
    assert seen == trail_of(api, job_id).events


def test_the_client_brings_all_pages(api: Api) -> None:
    """However many there are; a refusal has the service's words."""
    job_id, database = send(api), api.resources.database
    with database.begin() as session:
        audit.append(session, "default", [Event("x", "looked", job_id, {"n": n}) for n in range(450)],
                     database.now(session))  # fmt: skip
    with Client("http://service", api.key or "", transport=httpx.WSGITransport(app=api.app)) as client:
        found = client.get_audit(job_id)
        assert (found.job_id, found.next_cursor) == (job_id, None)
        assert [event.facts["n"] for event in found.events[3:]] == list(range(450))
        with pytest.raises(Refused, match="no job with this id"):
            client.get_audit(UNKNOWN)


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("auditor", 200), ("uploader", 403), ("reviewer", 403)])
def test_who_did_not_send_it_needs_the_right(api: Api, role: str, status: int) -> None:
    """Admins and auditors read all of their tenant's."""
    assert other(api, role).get(f"/api/v1/jobs/{send(api)}/audit").status_code == status


@pytest.mark.parametrize("role", ["uploader", "reviewer"])
def test_who_sent_it_reads_its_trail_until_it_is_deleted(api: Api, role: str) -> None:
    """Then it is told that it was; the trail repeats what the deletion was to end."""
    sender = other(api, role)
    job_id = send(sender)
    assert trail_of(sender, job_id).events[0].facts["role"] == role
    api.request("DELETE", f"/api/v1/jobs/{job_id}")
    problem(sender.get(f"/api/v1/jobs/{job_id}/audit"), 410, "job_deleted")


@pytest.mark.parametrize("role", ["admin", "auditor"])
def test_the_trail_of_a_deleted_job_is_there_for_those_who_watch(api: Api, role: str) -> None:
    """To the deletion itself, with who asked for it."""
    job_id = send(api)
    api.request("DELETE", f"/api/v1/jobs/{job_id}")
    found = trail_of(other(api, role), job_id)
    assert [event.action for event in found.events] == ["accepted", "claimed", "succeeded", "deleted"]
    assert found.events[-1].actor == f"key:{key_id(api)}"


@pytest.mark.parametrize("role", ["admin", "uploader"])
def test_another_tenants_trail_is_not_there(api: Api, role: str) -> None:
    """Nor that of a job that never was: one answer."""
    make_tenant(api.resources.database, "clinic")
    stranger, job_id = other(api, role, "clinic"), send(api)
    foreign = problem(stranger.get(f"/api/v1/jobs/{job_id}/audit"), 404, "job_not_found")
    assert foreign.detail == problem(stranger.get(f"/api/v1/jobs/{UNKNOWN}/audit"), 404, "job_not_found").detail


def test_what_is_no_job_has_no_trail(api: Api) -> None:
    """The chain has events of other things, whose ids look alike."""
    thing, database = api.resources.new_id(), api.resources.database
    with database.begin() as session:
        audit.append(session, "default", [Event("key:k", "webhook_made", thing)], database.now(session))
    problem(api.get(f"/api/v1/jobs/{thing}/audit"), 404, "job_not_found")


def test_the_trail_is_found_by_its_job_and_not_along_the_chain(api: Api) -> None:
    """Whatever SQLite thinks of the order: a chain has millions of events."""
    sql = str(trails._EVENTS.compile(compile_kwargs={"literal_binds": False}))
    with api.resources.database.read() as session:
        asked = {"tenant": "default", "job_id": "x", "after": 0, "most": 201}
        plan = [row[3] for row in session.execute(text(f"EXPLAIN QUERY PLAN {sql}"), asked | {"seq_1": 0})]
    assert plan[0].startswith("SEARCH audit_events USING INDEX ix_audit_events_subject"), plan


# -- the page --------------------------------------------------------------------------------------------------------


def history_of(api: Api, job_id: str) -> str | None:
    """The section as text, in one line; None where the page has none."""
    page = api.browse().request("GET", f"/jobs/{job_id}").text
    found = re.search(r'<details class="history">(.*?)</details>', page, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", found[1]).split()) if found else None


def test_the_page_tells_it_in_words(api: Api) -> None:
    """Folded away, each event with who and where in the chain; maps by their names, faults by their codes."""
    job_id, database = send(api), api.resources.database
    make_explanation(database, job_id, method="smooth_grad")
    explain(database)
    make_explanation(database, job_id, method="gradient")
    fail_explanation(database)
    found = history_of(api, job_id)
    assert found is not None
    assert found.startswith("History 9 events Received ")
    assert f"key {key_id(api)} (admin) · event 2, " in found
    for words in (
        "Taken by a worker ",
        "Answered: Normal ",
        "worker w1 · event",
        "Heatmap requested: SmoothGrad ",
        "Heatmap started: SmoothGrad ",
        "Heatmap computed: SmoothGrad ",
        "Heatmap failed: Gradient, model_replaced ",
    ):
        assert words in found
    assert trail_of(api, job_id).events[0].hash[:12] in found


@pytest.mark.parametrize(
    ("role", "is_shown"), [("admin", True), ("auditor", True), ("uploader", False), ("reviewer", False)]
)
def test_the_page_shows_it_to_those_who_may_read_it(api: Api, role: str, *, is_shown: bool) -> None:
    """Others see the film and no section."""
    assert (history_of(other(api, role), send(api)) is not None) is is_shown


def test_the_page_shows_it_to_who_sent_the_film(api: Api) -> None:
    """Whatever its role."""
    sender = other(api, "uploader")
    assert history_of(sender, send(sender)) is not None


def test_what_others_saw_is_not_told_before_one_has_said_so_oneself(api: Api) -> None:
    """The page promises that beside its question; an auditor, who is not asked, reads it."""
    job_id, reader = send(api), other(api, "reviewer")

    def say(who: Api, role: str) -> None:
        with changing(api.resources.database) as changes:
            reviews.review(changes, Principal(key_id(who), "default", role), job_id, ReaderLabel.COVID19)

    say(reader, "reviewer")
    assert "Reviewed: COVID-19" not in str(history_of(api, job_id))
    assert "Reviewed " in str(history_of(api, job_id))
    assert "Reviewed: COVID-19" in str(history_of(other(api, "auditor"), job_id))
    say(api, "admin")
    assert str(history_of(api, job_id)).count("Reviewed: COVID-19") == 2
