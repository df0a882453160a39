"""Films that are classified again, over the API and by the film page's button: who may, what of, and what is left."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from shared.db import jobs
from shared.db.tables import AuditEvent, Job, Model, WorkerHeartbeat
from shared.domain import Priority
from shared.wiring import Resources
from tests.api import Api, Browser, make_key, make_tenant, stored
from tests.api_answers import job_of, problem
from tests.api_cases import UNKNOWN
from tests.fakes import MemoryBlobs, RecordingQueue
from tests.jobs import claim, finish, make_job, serve_model


@dataclass(slots=True)
class LateBlobs(MemoryBlobs):
    """Something happens before a film is copied, or after it."""

    before: Callable[[], object] = int
    after: Callable[[], object] = int

    def copy(self, ref: str, job_id: str) -> str:
        """Between the two."""
        self.before()
        copied = MemoryBlobs.copy(self, ref, job_id)
        self.after()
        return copied


def send(api: Api) -> str:
    """A film that waits for a worker; its job's id."""
    return job_of(api.submit(headers={"Cache-Control": "no-cache"}), 202).id


def end(api: Api, how: str = "succeeded") -> str:
    """A film whose job came to this end; the job's id."""
    job_id = send(api)
    if how == "cancelled":
        api.request("POST", f"/api/v1/jobs/{job_id}/cancel")
        return job_id
    if how == "expired":
        with api.resources.database.begin() as session:
            session.execute(update(Job).where(Job.id == job_id).values(expires_at=Job.created_at))
        return job_of(api.get(f"/api/v1/jobs/{job_id}")).id
    (held,) = claim(api.resources.database)
    if how == "succeeded":
        finish(api.resources.database, held)
    else:
        with jobs.changing(api.resources.database) as changes:
            changes.fail(held, "worker:w1", "poisoned", "It will not be tried again.")
    return job_id


def again(api: Api, job_id: str, query: str = "", **headers: str) -> TestResponse:
    """Over the API."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.request("POST", f"/api/v1/jobs/{job_id}/again{query}", named)


def press(person: Browser, job_id: str, key: str = UNKNOWN) -> TestResponse:
    """The film page's button."""
    return person.request("POST", f"/jobs/{job_id}/again", data={"csrf_token": person.csrf_token(), "key": key})


def section(person: Browser, job_id: str) -> str:
    """What the film page says of other answers, spaces made single; empty where it says nothing."""
    page = person.request("GET", f"/jobs/{job_id}").text
    found = re.search(r'<section class="again".*?</section>', page, re.DOTALL)
    return " ".join(found[0].split()) if found else ""


def trail(api: Api, job_id: str) -> list[tuple[str, str]]:
    """(action, body) of a job's events."""
    with api.resources.database.read() as session:
        events = select(AuditEvent.action, AuditEvent.body).where(AuditEvent.subject == job_id)
        return [(row.action, row.body) for row in session.execute(events.order_by(AuditEvent.seq))]


def serve_other(api: Api) -> None:
    """From now on another model serves than the one that answered."""
    with api.resources.database.begin() as session:
        now = api.resources.database.now(session)
        session.add(Model(weights_sha256="e" * 64, name="plainfilm-default", version="2027.01.01", manifest="{}",
                          registered_at=now))  # fmt: skip
        session.flush()
        session.execute(update(WorkerHeartbeat).values(model_sha256="e" * 64))


# -- API ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["failed", "cancelled", "expired", "succeeded"])
def test_whatever_its_end_a_film_becomes_a_job_that_waits_for_a_worker(api: Api, how: str) -> None:
    """Of its own, with the film's facts and a file of its own; the other job and its trail stay as they are."""
    serve_model(api.resources.database)
    job_id = end(api, how)
    before, told = job_of(api.get(f"/api/v1/jobs/{job_id}")), trail(api, job_id)
    response = again(api, job_id, "?priority=stat&expires_in_s=60")
    made = job_of(response, 202)
    assert response.headers["Location"] == f"/api/v1/jobs/{made.id}"
    assert (made.status, made.attempt, made.cached, made.priority) == ("queued", 0, False, Priority.STAT)
    assert made.expires_at
    assert made.input == before.input
    assert (job_of(api.get(f"/api/v1/jobs/{job_id}")), trail(api, job_id)) == (before, told)
    ((action, body),) = trail(api, made.id)
    assert action == "accepted"
    assert f'"again_of":"{job_id}"' in body
    assert isinstance(api.resources.queue, RecordingQueue)
    assert api.resources.queue.rings[-1] == (made.id, Priority.STAT)
    assert stored(api.resources) == (2, 2)
    films = [api.get(f"/api/v1/jobs/{each}/film").data for each in (job_id, made.id)]
    assert films[0] == films[1]


def test_one_that_has_not_ended_is_not_classified_again(api: Api) -> None:
    """409 while it waits and while it is read."""
    job_id = send(api)
    problem(again(api, job_id), 409, "conflict")
    claim(api.resources.database)
    problem(again(api, job_id), 409, "conflict")
    assert stored(api.resources) == (1, 1)


@pytest.mark.parametrize(("role", "status"), [("admin", 202), ("uploader", 202), ("reviewer", 202), ("auditor", 403)])
def test_who_may_send_a_film_may_have_one_classified_again(api: Api, role: str, status: int) -> None:
    """Over the API and by the button; an auditor is refused, and there is nothing to see for it."""
    job_id = end(api, "failed")
    asking = Api(api.resources, make_key(api.resources.database, role=role))
    told = section(asking.browse(), job_id)
    assert "Classify again" in told if status == 202 else told == ""
    assert again(asking, job_id).status_code == status
    assert press(asking.browse(), job_id).status_code == (303 if status == 202 else status)
    assert stored(api.resources)[1] == (3 if status == 202 else 1)


def test_what_is_not_there_cannot_be(api: Api) -> None:
    """404 of none and of another tenant's, 410 of a deleted one, 500 where its file is lost; nothing is left."""
    job_id, gone, lost = end(api), end(api), make_job(api.resources.database)
    finish(api.resources.database, claim(api.resources.database)[0])
    waiting = make_job(api.resources.database)
    api.request("DELETE", f"/api/v1/jobs/{gone}")
    make_tenant(api.resources.database, "clinic")
    stranger = Api(api.resources, make_key(api.resources.database, tenant="clinic"))
    for asking, of_job, status, code in (
        (api, UNKNOWN, 404, "job_not_found"),
        (api, "no-id", 404, "job_not_found"),
        (stranger, job_id, 404, "job_not_found"),
        (stranger, waiting, 404, "job_not_found"),
        (api, gone, 410, "job_deleted"),
        (api, lost, 500, "blob_missing"),
    ):
        problem(again(asking, of_job), status, code)
    assert stored(api.resources) == (1, 3)


@pytest.mark.parametrize("when", ["before", "after"])
def test_one_that_is_deleted_meanwhile_is_deleted(small: Resources, when: str) -> None:
    """410, before its film is copied or after it; the copy is not left behind."""
    blobs = LateBlobs()
    api = Api(replace(small, blobs=blobs), make_key(small.database))
    job_id = end(api)
    setattr(blobs, when, lambda: Api(api.resources, api.key).request("DELETE", f"/api/v1/jobs/{job_id}"))
    problem(again(api, job_id), 410, "job_deleted")
    assert stored(api.resources) == (0, 0)


def test_a_key_makes_one_job(api: Api) -> None:
    """Of the same job, even when that is deleted; for another one, or where a film is or was sent, it is refused."""
    job_id, other = end(api, "failed"), end(api, "failed")
    made = job_of(again(api, job_id, Idempotency_Key="mine"), 202)
    assert job_of(again(api, job_id, Idempotency_Key="mine"), 202).id == made.id
    api.request("DELETE", f"/api/v1/jobs/{job_id}")
    assert job_of(again(api, job_id, Idempotency_Key="mine"), 202).id == made.id
    problem(again(api, other, Idempotency_Key="mine"), 422, "idempotency_mismatch")
    sent = job_of(api.submit(headers={"Idempotency-Key": "sent"}), 202).id
    api.request("POST", f"/api/v1/jobs/{sent}/cancel")
    problem(again(api, sent, Idempotency_Key="sent"), 422, "idempotency_mismatch")
    found = problem(api.submit(headers={"Idempotency-Key": "mine"}), 422, "idempotency_mismatch")
    assert "to classify this film again" in found.detail


def test_a_client_may_wait_for_it(api: Api) -> None:
    """As for a film that it sends."""
    response = again(api, end(api, "failed"), Prefer="wait=0")
    assert (response.status_code, response.headers["Preference-Applied"]) == (202, "wait=0")


def test_a_full_queue_takes_none(api: Api) -> None:
    """429, whether it comes over the API or by the button; nothing is kept."""
    job_id = end(api, "failed")
    settings = api.resources.settings.model_copy(update={"tenant_queue_limit": 1})
    full = Api(replace(api.resources, settings=settings), api.key)
    job_of(again(full, job_id), 202)
    problem(again(full, job_id), 429, "tenant_queue_full")
    assert press(full.browse(), job_id).status_code == 429
    assert stored(api.resources) == (2, 2)


# -- the film page -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["failed", "cancelled", "expired"])
def test_a_job_without_an_answer_has_the_button(api: Api, how: str) -> None:
    """It leads to the new job's page, which names this one; a double click makes one job; without its token, none."""
    job_id, person = end(api, how), api.browse()
    assert "Classify again" in section(person, job_id)
    assert person.request("POST", f"/jobs/{job_id}/again", data={"key": UNKNOWN}).status_code == 403
    response = press(person, job_id)
    assert response.status_code == 303
    made = response.headers["Location"]
    assert press(person, job_id).headers["Location"] == made
    assert stored(api.resources) == (2, 2)
    page = person.request("GET", made).text
    assert f'<dt>Reclassifies job</dt><dd><a href="/jobs/{job_id}">' in page
    assert "Classify again" not in page, "it has not ended"
    assert "Reclassifies job" not in person.request("GET", f"/jobs/{job_id}").text


def test_each_page_has_a_key_of_its_own(api: Api) -> None:
    """Whoever opens it once more may classify it once more."""
    job_id, person = end(api, "failed"), api.browse()
    keys = [re.findall(r'name="key" value="([0-9a-f-]{36})"', section(person, job_id)) for _ in range(2)]
    assert len(keys[0]) == len(keys[1]) == 1
    assert keys[0] != keys[1]


@pytest.mark.parametrize("how", ["failed", "succeeded"])
def test_while_the_new_job_is_on_its_way_the_old_page_leads_there(api: Api, how: str) -> None:
    """Instead of offering one more; cancelled, it is offered again. The new job's page offers nothing meanwhile."""
    serve_model(api.resources.database)
    job_id, person = end(api, how), api.browse()
    serve_other(api)
    other = send(api)
    assert "Classify again" not in section(person, job_id), "the same film that was sent once more is as good"
    api.request("POST", f"/api/v1/jobs/{other}/cancel")
    made = press(person, job_id).headers["Location"].rsplit("/", 1)[1]
    for _ in range(2):
        told = section(person, job_id)
        assert f'This film is being classified again: <a href="/jobs/{made}">' in told
        assert "Classify again" not in told
        claim(api.resources.database)  # queued at first, running then
    api.request("POST", f"/api/v1/jobs/{made}/cancel")
    told = section(person, job_id)
    assert "Classify again" in told
    assert made not in told


def test_a_film_of_another_tenant_is_not_on_its_way(api: Api) -> None:
    """Whoever else sent the same film, nothing of it is told."""
    job_id = end(api, "failed")
    make_tenant(api.resources.database, "other")
    send(Api(api.resources, make_key(api.resources.database, tenant="other")))
    assert "Classify again" in section(api.browse(), job_id)


def test_an_answer_of_the_serving_model_has_no_button(api: Api) -> None:
    """Nor has one where it is not known which model serves."""
    job_id, person = end(api), api.browse()
    assert section(person, job_id) == ""
    serve_model(api.resources.database)
    assert section(person, job_id) == ""


def test_an_answer_of_another_model_names_the_one_that_serves(api: Api) -> None:
    """With the button, until the film is answered by it: then it leads there, and that one to where it came from."""
    serve_model(api.resources.database)
    job_id, person = end(api), api.browse()
    serve_other(api)
    told = section(person, job_id)
    assert "A different model is in use now from the one that gave this answer: plainfilm-default 2027.01.01." in told
    assert "Classify again" in told
    auditor = Api(api.resources, make_key(api.resources.database, role="auditor")).browse()
    assert section(auditor, job_id) == told[: told.index("<form")] + "</section>"
    made = press(person, job_id).headers["Location"].rsplit("/", 1)[1]
    finish(api.resources.database, claim(api.resources.database)[0])
    old_model = section(person, job_id)
    assert f'href="/jobs/{made}"' in old_model
    assert "A different model is in use now" in old_model, "a worker with the model from before had answered"
    assert "Classify again" in old_model
    serve_model(api.resources.database)
    told = section(person, job_id)
    assert f'href="/jobs/{made}"' in told
    assert "Classify again" not in told
    assert section(person, made) == ""


def test_a_later_answer_to_the_same_film_is_told_where_there_was_none(api: Api) -> None:
    """However it came: by the same bytes sent another time, too. Another tenant's is not told."""
    job_id, person = end(api, "failed"), api.browse()
    make_tenant(api.resources.database, "clinic")
    end(Api(api.resources, make_key(api.resources.database, tenant="clinic")))
    assert "newer answer" not in section(person, job_id)
    newer = end(api)
    told = section(person, job_id)
    assert f'This film has a newer answer: <a href="/jobs/{newer}">' in told
    assert "Classify again" not in told
    assert section(person, newer) == ""
