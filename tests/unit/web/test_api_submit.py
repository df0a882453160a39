"""`POST /api/v1/jobs`: what is accepted, what is refused and how, and what happens when a part is away."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from sqlalchemy.exc import OperationalError

from shared.db.engine import Database, make_engine
from shared.domain import Priority
from shared.errors import StorageDown
from shared.wiring import Resources
from tests.api import Api, make_key, make_tenant, stored
from tests.api_answers import MAX_BYTES, UNKNOWN, job_of, problem, rings
from tests.dicoms import make_dicom
from tests.factories import make_jpeg, make_pixels, make_png
from tests.fakes import MemoryBlobs, RecordingQueue
from tests.jobs import claim, finish, serve_model


class FullBlobs(MemoryBlobs):
    """A store whose disk is full."""

    def put(self, tenant: str, job_id: str, data: bytes, sha256: str | None = None) -> str:
        """Refuse."""
        del tenant, job_id, data, sha256
        raise StorageDown("The film could not be stored; try again shortly.", errno=28)


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


def test_an_upload_that_ended_early_is_refused(api: Api, small: Resources) -> None:
    """As gunicorn hands it over: a body that is at its end before its promised length."""
    film = make_png()
    short = {"CONTENT_LENGTH": str(len(film) + 100), "wsgi.input_terminated": True}
    kind = {"Content-Type": "image/png"}
    response = api.request("POST", "/api/v1/jobs", kind, data=film, environ_overrides=short)
    assert "before all of its bytes arrived" in problem(response, 400, "malformed_request").detail
    assert stored(small) == (0, 0)


def test_the_content_counts_not_its_label(api: Api) -> None:
    """A JPEG sent as image/png is a JPEG, a DICOM a DICOM."""
    assert job_of(api.submit(make_jpeg()), 202).input.kind == "jpeg"
    assert job_of(api.submit(make_dicom()), 202).input.kind == "dicom"


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
        (make_dicom(Modality="CT"), 422, "not_a_frontal_film"),
        (make_dicom(NumberOfFrames=2), 415, "unsupported_format"),
        (bytes(MAX_BYTES + 1), 413, "too_large"),
        (bytes(2 * MAX_BYTES), 413, "too_large"),
    ],
    ids=["empty", "gif", "html", "cut", "tiny", "long", "ct", "frames", "one-byte-too-large", "twice-too-large"],
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


class Pieces(io.BytesIO):
    """A body that comes 512 bytes at a time, however much is asked for."""

    def read(self, size: int | None = -1) -> bytes:
        """The next piece."""
        return super().read(min(size, 512) if size and size > 0 else 512)

    def readinto(self, buffer: object) -> int:
        """Likewise."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        piece = self.read(len(view))
        view[: len(piece)] = piece
        return len(piece)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_body_that_comes_in_pieces_is_whole_or_refused(api: Api, small: Resources, missing: int) -> None:
    """Its length says when it is whole; a client that leaves before that has sent nothing."""
    film = make_png()
    assert len(film) > 2 * 512
    response = api.request(
        "POST", "/api/v1/jobs", {"Content-Type": "image/png"}, input_stream=Pieces(film),
        environ_overrides={"CONTENT_LENGTH": str(len(film) + missing)},
    )  # fmt: skip
    assert response.status_code == (400 if missing else 202)
    assert stored(small) == ((0, 0) if missing else (1, 1))


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
    """A text named 'file' is not a file part; the answer says what is missing."""
    response = api.request("POST", "/api/v1/jobs", data={"file": "x"}, content_type="multipart/form-data")
    found = problem(response, 400, "malformed_request")
    assert found.detail == "'file' was sent as a text field; send it as a file part with a filename."


def test_a_film_that_comes_as_a_long_text_is_told_so(resources: Resources) -> None:
    """It is not too large: as a file part it would be taken."""
    api = Api(resources, make_key(resources.database))
    response = api.request("POST", "/api/v1/jobs", data={"file": "x" * 400_000}, content_type="multipart/form-data")
    assert "as a file part with a filename" in problem(response, 400, "malformed_request").detail


@pytest.mark.parametrize(("names", "told"), [(["film"], "'film'"), (["file", "two"], "'file', 'two'"), ([], "none")])
def test_the_parts_that_came_are_named(api: Api, names: list[str], told: str) -> None:
    """So that a wrong name is seen."""
    found = problem(api.submit_form(*[(name, make_png()) for name in names]), 400, "malformed_request")
    assert f"(came: {told})" in found.detail


def test_what_is_too_large_is_told_the_limit(api: Api) -> None:
    """Raw, and as a form; whether the promised length says so or the bytes do."""
    for data in (bytes(MAX_BYTES + 1), bytes(2 * MAX_BYTES)):
        for response in (api.submit(data), api.submit_form(("file", data))):
            assert f"larger than {MAX_BYTES} bytes" in problem(response, 413, "too_large").detail


@pytest.mark.parametrize(
    "kind", ["", "image/jpg", "image/pjpeg", "application/dicom", "application/octet-stream", "image/png; q=1"]
)
def test_a_raw_body_may_be_called_otherwise(api: Api, kind: str) -> None:
    """Names that clients give a film, also of another kind, and no name: the content counts."""
    assert job_of(api.submit(make_jpeg(), headers={"Content-Type": kind}), 202).input.kind == "jpeg"


@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-www-form-urlencoded", "image/gif", "image/*", "multipart/mixed"]
)
def test_another_content_type_is_refused(api: Api, small: Resources, kind: str) -> None:
    """415 tells what came, and the two ways there are."""
    found = problem(api.submit(headers={"Content-Type": kind}), 415, "unsupported_format")
    assert f"Set Content-Type to image/png, image/jpeg or application/dicom (came: {kind})" in found.detail
    assert "multipart" in found.detail
    assert stored(small) == (0, 0)


def test_a_long_content_type_is_not_told_at_length(api: Api) -> None:
    """Its beginning is enough."""
    found = problem(api.submit(headers={"Content-Type": "text/" + "x" * 5000}), 415, "unsupported_format")
    assert len(found.detail) < 300


def test_a_form_without_its_boundary_is_refused(api: Api) -> None:
    """And who set the header by hand, which most HTTP clients do better, is told so."""
    response = api.request("POST", "/api/v1/jobs", {"Content-Type": "multipart/form-data"}, data=b"--x\r\n")
    assert "names no boundary" in problem(response, 400, "malformed_request").detail


def test_a_form_of_many_parts_is_refused(api: Api, small: Resources) -> None:
    """More parts than any form of ours are not even parsed."""
    found = problem(api.submit_form(*[("file", b"x")] * 50), 400, "malformed_request")
    assert "more than 8 parts" in found.detail
    assert stored(small) == (0, 0)


@pytest.mark.parametrize("query", ["?priority=urgent", "?priority=", "?prio=stat", "?priority=stat&x=1"])
def test_an_unknown_wish_is_refused(api: Api, small: Resources, query: str) -> None:
    """A misspelt parameter is told, not dropped."""
    problem(api.submit(query=query), 400, "invalid_request")
    assert stored(small) == (0, 0)


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


def test_a_film_that_was_answered_before_is_answered_at_once(api: Api, small: Resources) -> None:
    """200 with the finished job, marked as cached, its film to be seen; `Cache-Control: no-cache` asks for a worker."""
    serve_model(small.database)
    job_of(api.submit(), 202)
    finish(small.database, claim(small.database)[0])
    again = api.submit()
    job = job_of(again, 200)
    assert (job.status, job.cached, job.attempt) == ("succeeded", True, 0)
    assert again.headers["Location"] == job.links.self
    assert "Retry-After" not in again.headers
    assert len(rings(small)) == 1
    for path in (job.links.film, f"{job.links.self}/explanations/grad_cam"):
        assert api.get(path).content_type == "image/png"
    assert "answered from the stored result" in api.browse().request("GET", job.links.page).text
    fresh = job_of(api.submit(headers={"Cache-Control": "no-cache"}), 202)
    assert (fresh.status, fresh.cached, len(rings(small))) == ("queued", False, 2)


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
