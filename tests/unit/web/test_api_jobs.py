"""`/api/v1/jobs`: what can be read, listed and cancelled."""

from __future__ import annotations

import io
import json

import pytest
from werkzeug.test import TestResponse

from shared import wire
from shared.db.engine import Database
from shared.domain import Priority
from shared.wiring import Resources
from tests.api import Api, make_key, make_tenant
from tests.api_answers import UNKNOWN, job_of, problem
from tests.factories import make_png
from tests.fakes import MemoryBlobs
from tests.jobs import claim, finish, make_batch, make_job, make_slow


def succeed(database: Database) -> str:
    """A job with a result."""
    job_id = make_job(database)
    finish(database, claim(database)[0])
    return job_id


def test_a_finished_job_has_its_result(api: Api, small: Resources) -> None:
    """Verdict, probabilities, model and explanation; nothing to wait for any more."""
    response = api.get(f"/api/v1/jobs/{succeed(small.database)}")
    job = job_of(response)
    assert (job.status, job.done, job.error) == ("succeeded", True, None)
    assert "Retry-After" not in response.headers
    assert job.result is not None
    assert job.model is not None
    assert (job.result.verdict, job.result.prediction_set, job.model.name) == ("normal", ["normal"], "fake")
    assert job.result.notice == "research use; not a medical device"


def test_an_unchanged_job_is_answered_short(api: Api, small: Resources) -> None:
    """304 without a body while the state is the same, 200 once it moved."""
    job_id = make_job(small.database)
    first = api.get(f"/api/v1/jobs/{job_id}")
    tag = {"If-None-Match": first.headers["ETag"]}
    again = api.get(f"/api/v1/jobs/{job_id}", tag)
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    claim(small.database)
    moved = api.get(f"/api/v1/jobs/{job_id}", tag)
    assert job_of(moved).status == "running"
    assert moved.headers["ETag"] != first.headers["ETag"]


def test_who_waits_is_told_for_how_long_at_the_rate_of_the_last_minute(api: Api, small: Resources) -> None:
    """Half of it until asking again makes sense; where nothing was finished lately nobody knows."""
    unknown = api.get(f"/api/v1/jobs/{make_job(small.database)}")
    assert (job_of(unknown).eta_s, unknown.headers["Retry-After"]) == (None, "1")
    claim(small.database)
    for _ in range(6):
        make_job(small.database)
        finish(small.database, claim(small.database)[0])  # six a minute
    make_slow(small.database, 60)
    rated, waiting = Api(small, api.key), [make_job(small.database) for _ in range(2)]
    answers = [rated.get(f"/api/v1/jobs/{job_id}") for job_id in waiting]
    assert [job_of(response).eta_s for response in answers] == [10, 20]
    assert [response.headers["Retry-After"] for response in answers] == ["5", "10"]
    assert [job.eta_s for job in listed(rated.get("/api/v1/jobs?status=queued")).jobs] == [None, None]


def test_a_service_with_little_to_do_does_not_count_as_a_slow_one(api: Api, small: Resources) -> None:
    """One film a minute that took 0.02 s: the next one is there in a second, not in a minute."""
    succeed(small.database)
    make_slow(small.database, 0.02)
    batch_id = make_batch(small.database)
    waiting = make_job(small.database, batch_id=batch_id)
    response = Api(small, api.key).get(f"/api/v1/jobs/{waiting}")
    assert (job_of(response).eta_s, response.headers["Retry-After"]) == (1, "1")
    assert api.get(f"/api/v1/batches/{batch_id}").headers["Retry-After"] == "1"


def test_the_queue_position_is_no_change(api: Api, small: Resources) -> None:
    """Films overtake in the queue without a new ETag for those they overtake."""
    job_id = make_job(small.database, priority=Priority.BULK)
    before = api.get(f"/api/v1/jobs/{job_id}")
    make_job(small.database, priority=Priority.STAT)
    after = api.get(f"/api/v1/jobs/{job_id}")
    assert [job_of(response).queue_position for response in (before, after)] == [0, 1]
    assert before.headers["ETag"] == after.headers["ETag"]


@pytest.mark.parametrize("path", ["", "/film", "/explanations/grad_cam", "/cancel"])
def test_a_foreign_job_is_as_unknown_as_an_unknown_one(api: Api, small: Resources, path: str) -> None:
    """The same status and body for a foreign id, an unknown one and one that is none."""
    make_tenant(small.database, "clinic")
    stranger = Api(small, make_key(small.database, tenant="clinic"))
    mine = succeed(small.database)
    method = "POST" if path == "/cancel" else "GET"
    texts = set()
    for job_id in (mine, UNKNOWN, "x", mine.upper(), "0" * 36, f"{mine}0"):
        response = stranger.request(method, f"/api/v1/jobs/{job_id}{path}", {"X-Request-Id": "r"})
        problem(response, 404, "job_not_found")
        texts.add(response.text.replace(f"/api/v1/jobs/{job_id}", ""))
    assert len(texts) == 1
    assert api.request(method, f"/api/v1/jobs/{mine}{path}").status_code != 404 or path == "/film"


def test_the_film_is_shown_as_png(api: Api) -> None:
    """Re-encoded, sandboxed, scaled on request."""
    job = job_of(api.submit(), 202)
    whole, small_one = api.get(job.links.film), api.get(f"{job.links.film}?max_side=32")
    assert whole.content_type == small_one.content_type == "image/png"
    assert "sandbox" in whole.headers["Content-Security-Policy"]
    assert [int.from_bytes(response.data[16:20]) for response in (whole, small_one)] == [64, 32]


@pytest.mark.parametrize("side", ["0", "15", "4097", "-16", "1e3", "x", "", "٣٢", "000000100" + "9" * 5000])
def test_a_size_out_of_bounds_is_refused(api: Api, side: str) -> None:
    """16 to 4096 pixels, in plain digits."""
    job = job_of(api.submit(), 202)
    problem(api.get(f"{job.links.film}?max_side={side}"), 400, "invalid_request")


def test_a_lost_film_is_our_fault(api: Api, small: Resources) -> None:
    """500 with its own code, and no reference in it."""
    job = job_of(api.submit(), 202)
    assert isinstance(small.blobs, MemoryBlobs)
    small.blobs.data.clear()
    found = problem(api.get(job.links.film), 500, "blob_missing")
    assert "default/" not in found.detail


def test_an_explanation_is_drawn_or_handed_out(api: Api, small: Resources) -> None:
    """PNG for people, .npy for programs."""
    job = job_of(api.get(f"/api/v1/jobs/{succeed(small.database)}"))
    assert job.result is not None
    (explanation,) = job.result.explanations
    drawn, raw = api.get(explanation.href), api.get(f"{explanation.href}.npy")
    assert (drawn.content_type, drawn.data[:4]) == ("image/png", b"\x89PNG")
    assert (raw.content_type, raw.data[:6]) == ("application/octet-stream", b"\x93NUMPY")


def test_an_explanation_that_is_not_there_is_404(api: Api, small: Resources) -> None:
    """Before the result, and for a method that was not asked of the network."""
    finished, waiting = succeed(small.database), make_job(small.database)
    for path in (f"{waiting}/explanations/grad_cam", f"{finished}/explanations/guess", f"{finished}/explanations/.npy"):
        problem(api.get(f"/api/v1/jobs/{path}"), 404, "not_found")


def test_a_queued_job_is_cancelled_once_and_for_all(api: Api, small: Resources) -> None:
    """Twice is as good as once; afterwards nobody claims it."""
    job_id = make_job(small.database)
    for _ in range(2):
        job = job_of(api.request("POST", f"/api/v1/jobs/{job_id}/cancel"))
        assert (job.status, job.done, job.error) == ("cancelled", True, None)
    assert claim(small.database) == []


def test_a_running_job_is_cancelled_too(api: Api, small: Resources) -> None:
    """Its result will not be written."""
    job_id = make_job(small.database)
    claim(small.database)
    assert job_of(api.request("POST", f"/api/v1/jobs/{job_id}/cancel")).status == "cancelled"


def test_an_ended_job_is_not_cancelled(api: Api, small: Resources) -> None:
    """409, and it stays as it is."""
    job_id = succeed(small.database)
    problem(api.request("POST", f"/api/v1/jobs/{job_id}/cancel"), 409, "illegal_transition")
    assert job_of(api.get(f"/api/v1/jobs/{job_id}")).status == "succeeded"


def listed(response: TestResponse) -> wire.JobList:
    """The response is a page."""
    assert response.status_code == 200, response.text
    return wire.JobList.model_validate_json(response.data)


def test_the_walk_visits_every_job_once(api: Api, small: Resources) -> None:
    """Newest first, page by page along the Link header, though films arrive meanwhile."""
    made = [make_job(small.database) for _ in range(23)]
    seen, path = [], "/api/v1/jobs?limit=5"
    while path:
        response = api.get(path)
        page = listed(response)
        seen += [job.id for job in page.jobs]
        make_job(small.database)
        link = response.headers.get("Link", "")
        assert bool(link) is (page.next_cursor is not None)
        path = link.partition(">")[0].removeprefix("<")
    assert seen == made[::-1]


def test_the_last_page_has_no_next(api: Api, small: Resources) -> None:
    """Not even where it is exactly full."""
    for _ in range(4):
        make_job(small.database)
    page = listed(api.get("/api/v1/jobs?limit=4"))
    assert (len(page.jobs), page.next_cursor) == (4, None)
    assert listed(api.get("/api/v1/jobs?limit=3")).next_cursor == page.jobs[2].id


def test_a_filter_holds_over_all_pages(api: Api, small: Resources) -> None:
    """Status and verdict, and the next page asks for the same."""
    finished = [succeed(small.database) for _ in range(3)]
    make_job(small.database)
    for query in ("status=succeeded", "verdict=normal", "status=succeeded&verdict=normal"):
        first = api.get(f"/api/v1/jobs?{query}&limit=2")
        second = api.get(first.headers["Link"].partition(">")[0].removeprefix("<"))
        assert [job.id for response in (first, second) for job in listed(response).jobs] == finished[::-1]
    assert listed(api.get("/api/v1/jobs?verdict=covid19")).jobs == []
    assert len(listed(api.get("/api/v1/jobs?status=queued")).jobs) == 1


@pytest.mark.parametrize("limit", ["%0A1", "%201", "1%20"])
def test_the_link_repeats_what_was_understood(api: Api, small: Resources, limit: str) -> None:
    """Odd spellings of a number neither break the header nor reach it."""
    for _ in range(2):
        make_job(small.database)
    response = api.get(f"/api/v1/jobs?limit={limit}")
    if response.status_code == 200:
        assert "?limit=1&cursor=" in response.headers["Link"]
    else:
        problem(response, 400, "invalid_request")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "status=done",
        "verdict=ill",
        "cursor=x",
        "page=2",
        "Status=queued",
        "since=x",
        "since=1764000000",
        "since=0001-01-01T00:00:00Z",
        "until=9999-12-31T23:30:00Z",
        "until=2026-01-01T00:00:00",
    ],
)
def test_an_unknown_or_bad_parameter_is_named(api: Api, query: str) -> None:
    """400 with the parameter's name."""
    found = problem(api.get(f"/api/v1/jobs?{query}"), 400, "invalid_request")
    assert query.partition("=")[0] in found.detail


def test_a_list_is_of_its_tenant(api: Api, small: Resources) -> None:
    """Nothing of others, not even their number."""
    make_job(small.database)
    make_tenant(small.database, "clinic")
    stranger = Api(small, make_key(small.database, tenant="clinic"))
    assert listed(stranger.get("/api/v1/jobs")) == wire.JobList(jobs=[], next_cursor=None)
    assert len(listed(api.get("/api/v1/jobs")).jobs) == 1


def test_the_document_is_served_to_anybody(api: Api) -> None:
    """Without a key, as JSON."""
    response = api.client.get("/api/v1/openapi.json")
    assert (response.status_code, json.loads(response.data)["openapi"]) == (200, "3.1.0")


def test_an_id_in_capitals_is_the_same_id(api: Api) -> None:
    """Some programs write UUIDs so: in an address, and where a list asks for a batch."""
    job = api.submit().json or {}
    capital = job["id"].upper()
    assert (api.get(f"/api/v1/jobs/{capital}").json or {})["id"] == job["id"]
    assert api.get(f"/api/v1/jobs/{capital}/audit").status_code == 200
    batch_id = (api.request("POST", "/api/v1/batches").json or {})["id"]
    api.submit(query=f"?batch={batch_id.upper()}")
    assert len((api.get(f"/api/v1/jobs?batch={batch_id.upper()}").json or {})["jobs"]) == 1


@pytest.mark.parametrize("name", ["priority", "expires_in_s", "batch"])
def test_a_parameter_among_a_forms_fields_is_refused(api: Api, name: str) -> None:
    """It would go unheeded: they belong into the address."""
    form = {"file": (io.BytesIO(make_png()), "film.png"), name: "stat"}
    told = problem(api.request("POST", "/api/v1/jobs", data=form), 400, "malformed_request")
    assert f"POST /api/v1/jobs?{name}=" in told.detail


def test_a_compressed_body_is_refused_as_such(api: Api) -> None:
    """Not as a gzip, which nobody sent."""
    answer = api.request("POST", "/api/v1/jobs", {"Content-Type": "image/png", "Content-Encoding": "gzip"}, data=b"x")
    assert "Content-Encoding" in problem(answer, 415, "unsupported_format").detail


@pytest.mark.parametrize(
    ("path", "headers", "pointer"),
    [
        ("/api/v1/jobs/{}/film?max_side=1", {}, "max_side"),
        ("/api/v1/jobs/{}/events", {"Last-Event-ID": "x"}, "Last-Event-ID"),
        ("/api/v1/jobs/{}/events", {"Last-Event-ID": "999"}, "Last-Event-ID"),
    ],
)
def test_a_wrong_parameter_or_header_is_named(api: Api, path: str, headers: dict[str, str], pointer: str) -> None:
    """As each wrong field is."""
    answer = api.get(path.format((api.submit().json or {})["id"]), headers)
    assert [each.pointer for each in problem(answer, 400, "invalid_request").errors] == [pointer]
