"""Every exception becomes a problem document, or a page for a browser; none gives the inside away."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from flask import Flask, abort

from shared import wire
from shared.db.engine import Database, make_engine
from shared.db.film_folder import FilmFolder
from shared.errors import AppError, all_errors
from shared.settings import Settings
from shared.wiring import Resources, new_job_id
from tests.api import Api, make_key
from tests.fakes import LocalNotifier, MemoryBlobs, PlainDecoder, RecordingQueue

SECRET = "/srv/films/patient.png SELECT * FROM jobs"  # noqa: S105  what must not be shown
ERRORS = [error for error in all_errors() if error.__module__ == "shared.errors"]


@pytest.fixture(scope="module")
def api(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An application that raises what it is told to; one for all, since no test changes anything."""
    home = tmp_path_factory.mktemp("home")
    shutil.copy(sqlite_template, home / "plainfilm.db")
    settings = Settings(home=home)
    database = Database(make_engine(settings.sql_url))
    made = Api(
        Resources(
            settings,
            database,
            FilmFolder(settings.blobs, database),
            MemoryBlobs(),
            RecordingQueue(),
            LocalNotifier(),
            PlainDecoder(),
            new_job_id,
        ),
        make_key(database),
    )
    _add_traps(made.app)
    yield made
    database.close()


def _add_traps(app: Flask) -> None:
    by_code = {error.code: error for error in ERRORS}

    @app.get("/api/v1/raise/<code>")
    @app.get("/raise/<code>")
    def trap(code: str) -> str:
        raise by_code[code]("It is so.", path=SECRET) if code in by_code else RuntimeError(SECRET)

    @app.get("/api/v1/abort/<int:status>")
    def stop(status: int) -> str:
        abort(status)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_every_error_is_a_problem_of_its_status(api: Api, error: type[AppError]) -> None:
    """Code, status, title and detail are the class's; facts stay inside."""
    response = api.get(f"/api/v1/raise/{error.code}", {"X-Request-Id": "r-1"})
    assert (response.status_code, response.content_type) == (error.status, "application/problem+json")
    assert wire.Problem.model_validate_json(response.data) == wire.Problem(
        type=f"/problems#{error.code}",
        title=error.title,
        status=error.status,
        detail="It is so.",
        instance=f"/api/v1/raise/{error.code}",
        code=error.code,
        request_id="r-1",
    )
    assert SECRET not in response.text


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_only_what_may_pass_asks_for_patience(api: Api, error: type[AppError]) -> None:
    """Retry-After where a retry can help; a challenge where a key is missing."""
    response = api.get(f"/api/v1/raise/{error.code}")
    assert ("Retry-After" in response.headers) is error.retryable
    assert ("WWW-Authenticate" in response.headers) is (error.status == 401)


def test_the_log_says_why_the_service_refused(api: Api) -> None:
    """By a reason of its own where one is known, else in the words that the client got."""
    with structlog.testing.capture_logs() as logged:
        api.get("/api/v1/raise/storage_down")
    (line,) = [line for line in logged if line["event"] == "request.refused"]
    assert (line["code"], line["why"]) == ("storage_down", "It is so.")


def test_an_unexpected_fault_is_told_by_a_reference(api: Api) -> None:
    """The answer holds a reference and nothing else; the log holds the reference and the fault."""
    with structlog.testing.capture_logs() as logged:
        response = api.get("/api/v1/raise/other")
    found = wire.Problem.model_validate_json(response.data)
    assert (found.status, found.code) == (500, "internal")
    assert SECRET not in response.text
    assert "RuntimeError" not in response.text
    (line,) = [line for line in logged if line["event"] != "request"]
    assert line["reference"] == found.detail.rstrip(".").rsplit(" ", 1)[1]
    assert str(line["exc_info"]) == SECRET


@pytest.mark.parametrize(("method", "path", "status", "code"), [
    ("GET", "/api/v1/nothing", 404, "not_found"),
    ("GET", "/nothing", 404, "not_found"),
    ("PUT", "/api/v1/jobs", 405, "invalid_request"),
    ("DELETE", "/livez", 405, "invalid_request"),
])  # fmt: skip
def test_addresses_and_methods_that_are_not_there(api: Api, method: str, path: str, status: int, code: str) -> None:
    """The framework's own errors have the same form."""
    response = api.request(method, path)
    found = wire.Problem.model_validate_json(response.data)
    assert (response.status_code, found.status, found.code) == (status, status, code)
    assert ("Allow" in response.headers) is (status == 405)


@pytest.mark.parametrize("status", [400, 403, 406, 408, 418, 429, 500, 502])
def test_the_frameworks_statuses_are_kept(api: Api, status: int) -> None:
    """Whatever is raised by Werkzeug."""
    response = api.get(f"/api/v1/abort/{status}")
    assert (response.status_code, response.content_type) == (status, "application/problem+json")
    assert wire.Problem.model_validate_json(response.data).status == status


def test_a_redirect_is_no_error(api: Api) -> None:
    """Doubled slashes lead to the right address."""
    response = api.get("/api//v1/jobs")
    assert response.status_code == 308
    assert response.headers["Location"].endswith("/api/v1/jobs")


def test_a_browser_gets_a_page(api: Api) -> None:
    """HTML with the same words, where HTML is asked for."""
    response = api.get("/raise/conflict", {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"})
    assert (response.status_code, response.mimetype) == (409, "text/html")
    assert "It is so." in response.text
    assert SECRET not in response.text


def test_a_page_escapes_what_it_repeats(api: Api) -> None:
    """An address with markup in it is text."""
    response = api.get("/nothing/<script>alert(1)</script>", {"Accept": "text/html"})
    assert response.status_code == 404
    assert "<script>alert" not in response.text
    assert "There is nothing at this address." in response.text


@pytest.mark.parametrize("accept", ["text/html", "*/*", "application/json", "", "text/html;q=0.5,*/*"])
def test_the_api_never_answers_with_a_page(api: Api, accept: str) -> None:
    """A program gets problem+json whatever its library asks for."""
    assert api.get("/api/v1/raise/conflict", {"Accept": accept}).content_type == "application/problem+json"


def test_the_problems_page_explains_every_code(api: Api) -> None:
    """`type` leads somewhere: each code has its anchor on a page open to all."""
    page = api.client.get("/problems")
    assert page.status_code == 200
    assert not [error.code for error in ERRORS if f'id="{error.code}"' not in page.text]
