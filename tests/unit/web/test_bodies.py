"""Bodies on their way: so many bytes at a time, by their promised length, and let go of as soon as they can be."""

from __future__ import annotations

import hashlib
import io
import tempfile
import threading
from dataclasses import dataclass, field, replace

import pytest
from werkzeug.test import TestResponse

from shared.domain import Film
from shared.wiring import Resources
from tests.api import Api, make_key
from tests.api_answers import MAX_BYTES, job_of, problem
from tests.factories import make_png
from tests.fakes import PlainDecoder
from tests.jobs import claim, finish, make_job
from tests.waiting import wait_until
from web.bodies import BUDGET
from web.parsing import MOST_JSON_BYTES
from web.upload_budget import Budget


def budget_of(api: Api) -> Budget:
    """The application's."""
    found: Budget = api.app.extensions[BUDGET]
    return found


@dataclass(slots=True)
class WatchingDecoder(PlainDecoder):
    """Notes what the budget holds while a film is decoded."""

    budget: Budget | None = None
    held: list[int] = field(default_factory=list)

    def decode(self, data: bytes, tenant: str | None = None, sha256: str | None = None) -> Film:
        """Note, then decode."""
        assert self.budget is not None
        self.held.append(self.budget.held_bytes)
        return PlainDecoder.decode(self, data, tenant, sha256)


def submit_chunked(api: Api) -> TestResponse:
    """A body that promises no length."""
    return api.request(
        "POST", "/api/v1/jobs", {"Content-Type": "image/png", "Transfer-Encoding": "chunked"},
        input_stream=io.BytesIO(make_png()), environ_overrides={"wsgi.input_terminated": True},
    )  # fmt: skip


@pytest.mark.parametrize(
    "send",
    [Api.submit, lambda api: api.submit_form(("file", make_png())), submit_chunked],
    ids=["raw", "form", "chunked"],
)
def test_a_body_beyond_the_budget_is_refused_for_now(api: Api, send: object) -> None:
    """503 with Retry-After while others come in; taken once there is room."""
    assert callable(send)
    budget = budget_of(api)
    budget.take(budget.limit_bytes)
    response = send(api)
    problem(response, 503, "uploads_full")
    assert int(response.headers["Retry-After"]) > 0
    budget.give_back(budget.limit_bytes)
    assert send(api).status_code == 202


def test_a_form_of_a_browser_is_under_it_too(api: Api) -> None:
    """Its CSRF token is looked for in the form, before anything else is."""
    browser = api.browse()
    headers, form = {"X-CSRFToken": browser.csrf_token()}, {"file": (io.BytesIO(make_png()), "film.png")}
    budget_of(api).take(budget_of(api).limit_bytes)
    response = browser.request("POST", "/api/v1/jobs", headers, data=form, content_type="multipart/form-data")
    problem(response, 503, "uploads_full")


def test_a_body_counts_by_its_length_until_its_film_is_stored(small: Resources) -> None:
    """One without a length by what came; whatever becomes of it, nothing stays counted."""
    decoder = WatchingDecoder()
    api = Api(replace(small, decoder=decoder), make_key(small.database))
    decoder.budget = budget = budget_of(api)
    assert api.submit().status_code == submit_chunked(api).status_code == 202
    assert decoder.held == [len(make_png())] * 2
    assert api.submit(make_png()[:200]).status_code == 422
    assert api.submit(bytes(MAX_BYTES * 2)).status_code == 413
    assert budget.held_bytes == 0


def test_a_body_that_is_not_read_yet_holds_no_room(api: Api) -> None:
    """A browser's, whose CSRF token is looked for before its film has its turn to be read."""
    budget, kind = budget_of(api), "application/octet-stream"
    with api.app.test_request_context("/api/v1/jobs", method="POST", data=make_png(), content_type=kind) as context:
        assert not context.request.form
        assert budget.held_bytes == 0
        assert context.request.stream.read(1)
        assert budget.held_bytes == len(make_png())
        context.request.close()
    assert budget.held_bytes == 0


def test_a_client_that_waits_for_its_answer_holds_no_room(api: Api) -> None:
    """The film is stored by then."""
    answers: list[TestResponse] = []
    sender = threading.Thread(target=lambda: answers.append(api.submit(headers={"Prefer": "wait=30"})))
    sender.start()
    wait_until(lambda: api.resources.queue.rings, "the film to be accepted")
    wait_until(lambda: budget_of(api).held_bytes == 0, "its room to be given back")
    assert answers == []
    (held,) = claim(api.resources.database)
    finish(api.resources.database, held)
    sender.join()
    assert answers[0].status_code == 200


def test_a_form_is_kept_in_memory_only(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """3 MB, where nothing can be written for temporary use: its names and metadata are on no disk."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    api = Api(resources, make_key(resources.database))
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    form = head + make_png() + bytes(3_000_000) + b"\r\n--x--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    response = api.request("POST", "/api/v1/jobs", kind, data=form)
    assert job_of(response, 202).input.sha256 == hashlib.sha256(make_png() + bytes(3_000_000)).hexdigest()


def test_the_largest_film_has_room_in_the_smallest_budget(small: Resources) -> None:
    """As a form too, which is a little longer."""
    settings = small.settings.model_copy(update={"upload_budget_bytes": MAX_BYTES})
    api = Api(replace(small, settings=settings), make_key(small.database))
    film = make_png() + bytes(MAX_BYTES - len(make_png()))
    assert api.submit_form(("file", film)).status_code == api.submit(film).status_code == 202


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("place", ["reviews", "explanations"])
def test_json_is_read_up_to_what_a_request_may_need(resources: Resources, place: str, *, is_chunked: bool) -> None:
    """Parsed, a body takes thirty times its room, and holds up all others meanwhile: a larger one is refused."""
    api = Api(resources, make_key(resources.database))
    job_id = make_job(resources.database)

    def ask(size_bytes: int) -> TestResponse:
        body = b'{"label": "normal"}'.ljust(size_bytes)
        kind = {"Content-Type": "application/json"}
        path = f"/api/v1/jobs/{job_id}/{place}"
        if not is_chunked:
            return api.request("POST", path, kind, data=body)
        whole, ended = kind | {"Transfer-Encoding": "chunked"}, {"wsgi.input_terminated": True}
        return api.request("POST", path, whole, input_stream=io.BytesIO(body), environ_overrides=ended)

    assert ask(MOST_JSON_BYTES).status_code in {400, 409}
    for size_bytes in (MOST_JSON_BYTES + 1, 10 * MOST_JSON_BYTES):
        assert str(MOST_JSON_BYTES) in problem(ask(size_bytes), 413, "too_large").detail
    assert budget_of(api).held_bytes == 0
