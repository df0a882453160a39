"""`/api/v1/jobs`: what is accepted, what is refused and how, what can be read, listed and cancelled."""

from __future__ import annotations

import gc
import io
import json
import warnings
from dataclasses import replace

import pytest
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from shared import wire
from shared.db.engine import Database, make_engine
from shared.domain import Priority
from shared.errors import StorageDown
from shared.wiring import Resources
from tests.api import Api, make_key, make_tenant, stored
from tests.factories import make_jpeg, make_pixels, make_png
from tests.fakes import MemoryBlobs, RecordingQueue
from tests.jobs import claim, finish, make_job

UNKNOWN = "01997000-0000-7000-8000-000000000000"
MAX_BYTES = 100_000


class FullBlobs(MemoryBlobs):
    """A store whose disk is full."""

    def put(self, tenant: str, job_id: str, data: bytes) -> str:
        """Refuse."""
        del tenant, job_id, data
        raise StorageDown("The film could not be stored; try again shortly.", errno=28)


@pytest.fixture
def small(resources: Resources) -> Resources:
    """Resources with a small upload limit."""
    return replace(resources, settings=resources.settings.model_copy(update={"max_upload_bytes": MAX_BYTES}))


@pytest.fixture
def api(small: Resources) -> Api:
    """An application and an admin's key."""
    return Api(small, make_key(small.database))


def problem(response: TestResponse, status: int, code: str) -> wire.Problem:
    """The response is this problem, and gives nothing of the inside away."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    found = wire.Problem.model_validate_json(response.data)
    assert (found.status, found.code, found.type) == (status, code, f"/problems#{code}")
    assert found.request_id == response.headers["X-Request-Id"]
    assert not [word for word in ("/work", "/tmp", "Traceback", "sqlite", "SELECT", ".py") if word in response.text]  # noqa: S108  not used
    return found


def job_of(response: TestResponse, status: int = 200) -> wire.Job:
    """The response is a job."""
    assert response.status_code == status, response.text
    return wire.Job.model_validate_json(response.data)


def rings(resources: Resources) -> list[tuple[str, Priority]]:
    """What was rung."""
    assert isinstance(resources.queue, RecordingQueue)
    return resources.queue.rings


def succeed(database: Database) -> str:
    """A job with a result."""
    job_id = make_job(database)
    finish(database, claim(database)[0])
    return job_id


# -- submit ----------------------------------------------------------------------------------------------------------


def test_a_film_is_accepted(api: Api, small: Resources) -> None:
    """202, where to look, when to look, the job itself; stored once, rung once."""
    response = api.submit()
    job = job_of(response, 202)
    assert response.headers["Location"] == job.links.self == f"/api/v1/jobs/{job.id}"
    assert response.headers["Retry-After"] == "1"
    assert (job.status, job.done, job.priority, job.queue_position, job.attempt) == ("queued", False, "routine", 0, 0)
    assert (job.input.kind, job.input.width_px, job.input.height_px, job.input.bit_depth) == ("png", 64, 48, 8)
    assert stored(small) == (1, 1)
    assert rings(small) == [(job.id, Priority.ROUTINE)]


def test_where_it_says_there_is_the_job(api: Api) -> None:
    """Location leads to the same job."""
    response = api.submit()
    assert job_of(api.get(response.headers["Location"])) == job_of(response, 202)


def test_a_form_is_accepted_like_a_raw_body(api: Api) -> None:
    """The one part named 'file'; its name and type do not matter, its content does."""
    assert job_of(api.submit_form(("file", make_jpeg())), 202).input.kind == "jpeg"


def test_the_content_counts_not_its_label(api: Api) -> None:
    """A JPEG sent as image/png is a JPEG."""
    assert job_of(api.submit(make_jpeg()), 202).input.kind == "jpeg"


@pytest.mark.parametrize("priority", list(Priority))
def test_a_class_may_be_asked_for(api: Api, small: Resources, priority: Priority) -> None:
    """The job waits in its class, and that class's bell is rung."""
    job = job_of(api.submit(query=f"?priority={priority.value}"), 202)
    assert job.priority is priority
    assert rings(small) == [(job.id, priority)]


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 400, "malformed_request"),
        (b"GIF89a" + bytes(100), 415, "unsupported_format"),
        (b"<html>", 415, "unsupported_format"),
        (make_png()[:200], 422, "unreadable_image"),
        (make_png(pixels=make_pixels(height_px=20, width_px=20)), 422, "too_many_pixels"),
        (make_png(pixels=make_pixels(height_px=40, width_px=500)), 422, "too_many_pixels"),
        (bytes(MAX_BYTES + 1), 413, "too_large"),
        (bytes(2 * MAX_BYTES), 413, "too_large"),
    ],
    ids=["empty", "gif", "html", "cut", "tiny", "long", "one-byte-too-large", "twice-too-large"],
)
@pytest.mark.parametrize("form", [False, True], ids=["raw", "form"])
def test_a_film_that_cannot_be_taken_is_refused_and_forgotten(  # noqa: PLR0913  one table
    *, api: Api, small: Resources, data: bytes, status: int, code: str, form: bool
) -> None:
    """The same refusal for both ways of sending; nothing stored, nothing rung."""
    response = api.submit_form(("file", data)) if form else api.submit(data)
    problem(response, status, code)
    assert stored(small) == (0, 0)
    assert rings(small) == []


def test_a_film_of_exactly_the_limit_is_taken(api: Api) -> None:
    """The limit is of the film, not of the form around it."""
    film = make_png()
    padded = film + bytes(MAX_BYTES - len(film))
    assert api.submit(padded).status_code == api.submit_form(("file", padded)).status_code
    assert api.submit(padded).status_code != 413


def test_a_body_without_a_length_is_cut_off_at_the_limit(api: Api, small: Resources) -> None:
    """Chunked, as gunicorn hands it in: read up to the limit, then 413."""
    body = io.BytesIO(bytes(3 * MAX_BYTES))
    response = api.request(
        "POST", "/api/v1/jobs", {"Content-Type": "image/png", "Transfer-Encoding": "chunked"},
        input_stream=body, environ_overrides={"wsgi.input_terminated": True},
    )  # fmt: skip
    problem(response, 413, "too_large")
    assert body.tell() < 2 * MAX_BYTES + 2**17
    assert stored(small) == (0, 0)


def test_a_body_without_a_length_is_taken_when_it_fits(api: Api) -> None:
    """Chunked and small."""
    response = api.request(
        "POST", "/api/v1/jobs", {"Content-Type": "image/png", "Transfer-Encoding": "chunked"},
        input_stream=io.BytesIO(make_png()), environ_overrides={"wsgi.input_terminated": True},
    )  # fmt: skip
    assert job_of(response, 202).input.kind == "png"


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [("film", b"x")],
        [("file", b"x"), ("file", b"x")],
        [("file", b"x"), ("other", b"x")],
        [("File", b"x")],
    ],
    ids=["none", "misnamed", "two", "one-more", "capital"],
)
def test_a_form_holds_one_film(api: Api, small: Resources, parts: list[tuple[str, bytes]]) -> None:
    """Exactly one part, exactly that name."""
    found = problem(api.submit_form(*[(name, make_png()) for name, _ in parts]), 400, "malformed_request")
    assert "file" in found.detail
    assert stored(small) == (0, 0)


def test_a_field_is_no_film(api: Api) -> None:
    """A text field named 'file' is not a file part."""
    response = api.request("POST", "/api/v1/jobs", data={"file": "x"}, content_type="multipart/form-data")
    problem(response, 400, "malformed_request")


@pytest.mark.parametrize(
    "kind", ["", "application/json", "application/x-www-form-urlencoded", "image/gif", "image/*", "multipart/mixed"]
)
def test_another_content_type_is_refused(api: Api, small: Resources, kind: str) -> None:
    """415 tells the two ways there are."""
    found = problem(api.submit(headers={"Content-Type": kind}), 415, "unsupported_format")
    assert "multipart" in found.detail
    assert stored(small) == (0, 0)


def test_a_form_without_its_boundary_is_refused(api: Api) -> None:
    """As a form without a film."""
    response = api.request("POST", "/api/v1/jobs", {"Content-Type": "multipart/form-data"}, data=b"--x\r\n")
    problem(response, 400, "malformed_request")


def test_a_form_of_many_parts_is_refused(api: Api, small: Resources) -> None:
    """More parts than any form of ours are not even parsed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Werkzeug's parser leaves the parts it gave up open
        assert api.submit_form(*[("file", b"x")] * 50).status_code == 413
        gc.collect()
    assert stored(small) == (0, 0)


@pytest.mark.parametrize("query", ["?priority=urgent", "?priority=", "?prio=stat", "?priority=stat&x=1"])
def test_an_unknown_wish_is_refused(api: Api, small: Resources, query: str) -> None:
    """A misspelt parameter is told, not dropped."""
    problem(api.submit(query=query), 400, "invalid_request")
    assert stored(small) == (0, 0)


# -- idempotency -----------------------------------------------------------------------------------------------------


def test_the_same_key_and_film_answer_the_same_job(api: Api, small: Resources) -> None:
    """Sent again, raw or as a form: one job, one blob, one ring."""
    key = {"Idempotency-Key": "k1"}
    first = job_of(api.submit(headers=key), 202)
    assert job_of(api.submit(headers=key), 202).id == first.id
    assert job_of(api.submit_form(("file", make_png()), headers=key), 202).id == first.id
    assert stored(small) == (1, 1)
    assert len(rings(small)) == 1


def test_the_same_key_with_another_film_is_refused(api: Api, small: Resources) -> None:
    """422, and the first job stays the only one."""
    key = {"Idempotency-Key": "k1"}
    api.submit(headers=key)
    problem(api.submit(make_jpeg(), headers=key), 422, "idempotency_mismatch")
    assert stored(small) == (1, 1)


def test_without_a_key_each_film_is_a_job(api: Api, small: Resources) -> None:
    """The same film twice on purpose."""
    assert job_of(api.submit(), 202).id != job_of(api.submit(), 202).id
    assert stored(small) == (2, 2)


def test_a_key_is_of_its_tenant(api: Api, small: Resources) -> None:
    """Another tenant's equal key is another job."""
    make_tenant(small.database, "clinic")
    other = Api(small, make_key(small.database, tenant="clinic"))
    key = {"Idempotency-Key": "k1"}
    assert job_of(api.submit(headers=key), 202).id != job_of(other.submit(headers=key), 202).id


@pytest.mark.parametrize("key", ["", " ", "x" * 129, "a\tb", "a\x00b"])
def test_a_key_must_have_a_form(api: Api, small: Resources, key: str) -> None:
    """1 to 128 printable characters."""
    problem(api.submit(headers={"Idempotency-Key": key}), 400, "invalid_request")
    assert stored(small) == (0, 0)


def test_a_key_of_the_full_length_is_taken(api: Api) -> None:
    """128 fit the column."""
    assert api.submit(headers={"Idempotency-Key": "x" * 128}).status_code == 202


# -- what is away ----------------------------------------------------------------------------------------------------


def test_a_dead_broker_does_not_refuse_a_film(api: Api, small: Resources) -> None:
    """Still 202: a worker finds the row by itself."""
    assert isinstance(small.queue, RecordingQueue)
    small.queue.down = True
    assert api.submit().status_code == 202
    assert stored(small) == (1, 1)


def test_a_full_disk_refuses_a_film_for_now(small: Resources) -> None:
    """503 with Retry-After, and no row without its film."""
    api = Api(replace(small, blobs=FullBlobs()), make_key(small.database))
    response = api.submit()
    problem(response, 503, "storage_down")
    assert int(response.headers["Retry-After"]) > 0
    assert stored(api.resources) == (0, 0)
    assert rings(small) == []


class SilentDatabase(Database):
    """A database that refuses every connection once `is_down`."""

    is_down = False

    def refuse(self, *_arguments: object) -> None:
        """As a driver does."""
        if self.is_down:
            raise OperationalError("connect", None, ConnectionRefusedError("at 10.0.0.7:5432, user=plainfilm"))


@pytest.fixture
def silent(small: Resources) -> SilentDatabase:
    """A database that can be switched off."""
    from sqlalchemy import event  # noqa: PLC0415

    database = SilentDatabase(make_engine(small.settings.sql_url))
    event.listen(database.engine, "do_connect", database.refuse)
    return database


@pytest.mark.parametrize("path", ["", f"/{UNKNOWN}", f"/{UNKNOWN}/film", f"/{UNKNOWN}/explanations/grad_cam"])
def test_a_dead_database_is_told_as_such(small: Resources, silent: SilentDatabase, path: str) -> None:
    """503 with Retry-After for whatever is read."""
    api = Api(replace(small, database=silent), make_key(small.database))
    silent.is_down = True
    response = api.get(f"/api/v1/jobs{path}")
    problem(response, 503, "database_down")
    assert int(response.headers["Retry-After"]) > 0
    assert "10.0.0.7" not in response.text


def test_a_dead_database_takes_no_film(small: Resources, silent: SilentDatabase) -> None:
    """503, nothing stored, nothing rung."""
    api = Api(replace(small, database=silent), make_key(small.database))
    silent.is_down = True
    problem(api.submit(), 503, "database_down")
    silent.is_down = False
    assert stored(api.resources) == (0, 0)
    assert rings(small) == []


# -- one job ---------------------------------------------------------------------------------------------------------


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


# -- cancel ----------------------------------------------------------------------------------------------------------


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


# -- list ------------------------------------------------------------------------------------------------------------


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
    "query", ["limit=0", "limit=201", "limit=x", "status=done", "verdict=ill", "cursor=x", "page=2", "Status=queued"]
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
