"""`/api/v1/batches`: films that are sent together, each answered for itself, followed and cancelled as one."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from werkzeug.test import TestResponse

from shared import wire
from shared.db import batches as rows
from shared.db import jobs
from shared.wiring import Resources
from tests.api import Api, make_key, make_tenant, stored
from tests.api_answers import UNKNOWN, job_of, problem, rings
from tests.factories import make_pixels, make_png
from tests.fakes import LocalNotifier
from tests.jobs import claim, claimant, finish, make_batch, make_job, make_slow, serve_model
from web import batches


def batch_of(response: TestResponse, status: int = 200) -> wire.Batch:
    """The response is a batch."""
    assert response.status_code == status, response.text
    return wire.Batch.model_validate_json(response.data)


def create(api: Api, **headers: str) -> TestResponse:
    """Without a body."""
    return api.request("POST", "/api/v1/batches", headers)


def film(seed: int) -> bytes:
    """One of its own."""
    return make_png(pixels=make_pixels(seed=seed))


def test_a_batch_begins_empty_and_says_where_its_films_go(api: Api) -> None:
    """201, where it is, all its counts at 0, and the links to fill, list, export, show and cancel it."""
    response = create(api)
    batch = batch_of(response, 201)
    own = f"/api/v1/batches/{batch.id}"
    assert response.headers["Location"] == batch.links.self == own
    assert "Retry-After" not in response.headers
    assert (batch.done, batch.total, set(batch.counts.values()), set(batch.verdicts.values())) == (True, 0, {0}, {0})
    assert batch.links.submit == batch.links.jobs == f"/api/v1/jobs?batch={batch.id}"
    for path in (own, batch.links.jobs, batch.links.table):
        assert api.get(path).status_code == 200


def test_each_film_of_a_batch_is_answered_for_itself(api: Api, small: Resources) -> None:
    """Two accepted, one refused with its own problem; the batch has the two, in it they have their verdicts."""
    batch = batch_of(create(api), 201)
    sent = [job_of(api.submit(film(n), query=f"?batch={batch.id}"), 202) for n in range(2)]
    problem(api.submit(b"GIF89a", query=f"?batch={batch.id}"), 415, "unsupported_format")
    outside = job_of(api.submit(film(7)), 202)
    assert [job.batch_id for job in (*sent, outside)] == [batch.id, batch.id, None]
    finish(small.database, *claim(small.database, claimant(limit=1)))
    make_slow(small.database, 60)
    found = api.get(batch.links.self)
    batch = batch_of(found)
    assert (batch.total, batch.done, batch.counts["succeeded"], batch.counts["queued"]) == (2, False, 1, 1)
    assert (batch.verdicts["normal"], found.headers["Retry-After"]) == (1, "30"), (
        "half of the minute that one takes at one a minute"
    )
    listed = wire.JobList.model_validate_json(api.get(f"{batch.links.jobs}&status=queued").data)
    assert [job.id for job in listed.jobs] == [sent[1].id]
    table = list(csv.DictReader(io.StringIO(api.get(batch.links.table).text, newline="")))
    assert [row["id"] for row in table] == [job.id for job in sent[::-1]]


def test_pages_of_a_batch_lead_to_its_next_page(api: Api, small: Resources) -> None:
    """The link holds the batch."""
    batch_id = make_batch(small.database)
    made = [make_job(small.database, batch_id=batch_id) for _ in range(3)]
    link = api.get(f"/api/v1/jobs?batch={batch_id}&limit=2").headers["Link"]
    assert f"batch={batch_id}" in link
    rest = wire.JobList.model_validate_json(api.get(link[1:].partition(">")[0]).data)
    assert [job.id for job in rest.jobs] == made[:1]


def test_a_film_that_was_answered_before_is_in_the_batch_too(api: Api, small: Resources) -> None:
    """Its copy is a job of its own, of this batch."""
    serve_model(small.database)
    api.submit(film(1))
    finish(small.database, *claim(small.database))
    batch = batch_of(create(api), 201)
    again = job_of(api.submit(film(1), query=f"?batch={batch.id}"), 200)
    assert (again.cached, again.batch_id) == (True, batch.id)
    assert batch_of(api.get(batch.links.self)).counts["succeeded"] == 1


def test_a_key_is_of_its_batch(api: Api) -> None:
    """Sent again into another one the film would be missing there: it is told."""
    one, other = batch_of(create(api), 201), batch_of(create(api), 201)
    key = {"Idempotency-Key": "k"}
    sent = job_of(api.submit(film(1), key, f"?batch={one.id}"), 202)
    assert job_of(api.submit(film(1), key, f"?batch={one.id}"), 202).id == sent.id
    for query in (f"?batch={other.id}", ""):
        problem(api.submit(film(1), key, query), 422, "idempotency_mismatch")


def test_one_key_makes_one_batch(api: Api, small: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent again, and sent at the same moment; another tenant's key of that name is its own; bad keys are refused."""
    first = batch_of(create(api, **{"Idempotency-Key": "k"}), 201)
    assert batch_of(create(api, **{"Idempotency-Key": "k"}), 201) == first
    find, asked = rows.find_by_idempotency_key, []

    def not_yet(*arguments: object) -> str | None:
        asked.append(1)
        return None if len(asked) == 1 else find(*arguments)  # type: ignore[arg-type]  as they came

    with monkeypatch.context() as patch:
        patch.setattr(rows, "find_by_idempotency_key", not_yet)
        assert batch_of(create(api, **{"Idempotency-Key": "k"}), 201) == first
    make_tenant(small.database, "clinic")
    clinic = Api(small, make_key(small.database, tenant="clinic"))
    assert batch_of(create(clinic, **{"Idempotency-Key": "k"}), 201).id != first.id
    problem(create(api, **{"Idempotency-Key": " "}), 400, "invalid_request")


@pytest.mark.parametrize("kind", ["application/zip", "multipart/form-data; boundary=x", "application/json"])
def test_a_batch_takes_no_body(api: Api, kind: str) -> None:
    """415 that says where films go, rather than an archive that seems to be taken; nothing is made."""
    response = api.request("POST", "/api/v1/batches", {"Content-Type": kind}, data=b"PK\x05\x06" + bytes(18))
    assert "/api/v1/jobs?batch=" in problem(response, 415, "unsupported_format").detail


def test_a_batch_of_another_tenant_is_an_unknown_one(api: Api, small: Resources) -> None:
    """The same answer to each question, nothing stored; in lists both are just empty."""
    make_tenant(small.database, "clinic")
    theirs = make_batch(small.database, tenant="clinic")
    make_job(small.database, tenant="clinic", batch_id=theirs)
    asks: list[Callable[[str], TestResponse]] = [
        lambda id_: api.get(f"/api/v1/batches/{id_}"),
        lambda id_: api.request("POST", f"/api/v1/batches/{id_}/cancel"),
        lambda id_: api.submit(query=f"?batch={id_}"),
    ]
    for ask in asks:
        assert len({problem(ask(id_), 404, "batch_not_found").detail for id_ in (theirs, UNKNOWN)}) == 1
    problem(api.submit(query="?batch=x"), 400, "invalid_request")
    for id_ in (theirs, UNKNOWN):
        assert api.get(f"/api/v1/jobs?batch={id_}").json == {"jobs": [], "next_cursor": None}
        assert len(api.get(f"/api/v1/jobs.csv?batch={id_}").text.splitlines()) == 1
    assert (stored(small), rings(small)) == ((0, 1), [])


@pytest.mark.parametrize("given", ["x", "%00" * 36, "'" * 36, "0" * 37])
def test_what_is_no_id_is_not_looked_for(api: Api, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """404 like any unknown id: PostgreSQL takes no text with a zero in it."""
    for name in ("get", "cancel"):
        monkeypatch.setattr(batches, name, None)
    problem(api.get(f"/api/v1/batches/{given}"), 404, "batch_not_found")
    problem(api.request("POST", f"/api/v1/batches/{given}/cancel"), 404, "batch_not_found")


def test_who_may_only_look_changes_nothing(api: Api, small: Resources) -> None:
    """An auditor follows a batch, and neither makes nor cancels one."""
    auditor = Api(small, make_key(small.database, role="auditor"))
    own = batch_of(create(api), 201).links.self
    assert auditor.get(own).status_code == 200
    problem(create(auditor), 403, "forbidden")
    problem(auditor.request("POST", f"{own}/cancel"), 403, "forbidden")


def test_cancelling_goes_step_by_step_to_the_end(api: Api, small: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven films, two a step: who waits for one is told; what has ended stays; again changes nothing."""
    monkeypatch.setattr(jobs, "CANCEL_STEP", 2)
    monkeypatch.setattr(batches, "REST_S", 0.0)
    batch_id = make_batch(small.database)
    made = [make_job(small.database, batch_id=batch_id) for _ in range(7)]
    finish(small.database, *claim(small.database, claimant(limit=1)))
    assert isinstance(small.notifier, LocalNotifier)
    for expected in (made[1:], []):
        small.notifier.published.clear()
        batch = batch_of(api.request("POST", f"/api/v1/batches/{batch_id}/cancel"))
        assert (batch.done, batch.counts["cancelled"], batch.counts["succeeded"]) == (True, 6, 1)
        assert [job_id for ids in small.notifier.published for job_id in ids] == expected


def test_films_past_their_time_have_ended(api: Api, small: Resources) -> None:
    """Whether or not a worker is there to end them."""
    batch_id = make_batch(small.database)
    make_job(small.database, batch_id=batch_id, expires_in_s=-1)
    batch = batch_of(api.get(f"/api/v1/batches/{batch_id}"))
    assert (batch.done, batch.counts["expired"]) == (True, 1)


def test_an_unchanged_batch_is_not_sent_again(api: Api, small: Resources) -> None:
    """304 until one of its jobs changes."""
    batch_id = make_batch(small.database)
    make_job(small.database, batch_id=batch_id)
    own = f"/api/v1/batches/{batch_id}"
    known = {"If-None-Match": api.get(own).headers["ETag"]}
    assert api.get(own, known).status_code == 304
    claim(small.database)
    assert api.get(own, known).status_code == 200
