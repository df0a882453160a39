"""Each field of a request that is wrong is told: in a sentence for people, and by its place for programs."""

from __future__ import annotations

import pytest

from tests.api import Api
from tests.api_answers import UNKNOWN, problem
from tests.api_cases import fail, succeed


def test_each_parameter_that_is_wrong_is_named(api: Api) -> None:
    """By its name; the sentence has all of them."""
    found = problem(api.get("/api/v1/jobs?limit=0&status=done&colour=1"), 400, "invalid_request")
    assert [each.pointer for each in found.errors] == ["status", "limit", "colour"]
    assert (
        found.detail == "The query is not valid: " + "; ".join(f"{e.pointer}: {e.detail}" for e in found.errors) + "."
    )


def test_a_parameter_that_comes_twice_is_refused(api: Api) -> None:
    """It takes one value: two would look like a choice of either, and only the first was used."""
    for path in ("/api/v1/jobs?status=failed&status=expired&limit=5", "/api/v1/jobs.csv?status=failed&status=expired"):
        found = problem(api.get(path), 400, "invalid_request")
        assert [(each.pointer, each.detail) for each in found.errors] == [("status", "It may be given only once")]
    assert "status: It may be given only once." in found.detail


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/api/v1/jobs/{job}?wait=20", "wait"),
        ("GET", "/api/v1/jobs?state=failed", "state"),
        ("HEAD", "/api/v1/jobs/{job}?wait=20", "wait"),
        ("GET", "/api/v1/jobs/{job}/film?max_side=64&side=64", "side"),
        ("DELETE", "/api/v1/jobs/{job}?force=1", "force"),
        ("POST", "/api/v1/jobs/{job}/cancel?reason=none", "reason"),
    ],
)
def test_a_parameter_that_an_operation_lacks_is_refused(api: Api, method: str, path: str, name: str) -> None:
    """Before anything is done: it would be taken for one that works."""
    job_id = api.submit().json["id"]
    answer = api.request(method, path.format(job=job_id))
    assert answer.status_code == 400
    if method != "HEAD":
        found = problem(answer, 400, "invalid_request")
        assert [each.pointer for each in found.errors] == [name]
        assert found.errors[0].detail.startswith("There is no such parameter")
        assert ("Prefer: wait=20" in found.errors[0].detail) is (name == "wait")
    assert api.get(f"/api/v1/jobs/{job_id}").json["status"] == "queued"


def test_who_may_not_ask_is_told_that_first(api: Api) -> None:
    """Without a key nothing is said of parameters; pages and health checks take what they are given."""
    assert api.client.get("/api/v1/jobs?state=failed").status_code == 401
    assert api.client.get("/left?from=mail").status_code == 200


@pytest.mark.parametrize(
    "said", ["2026-11-01", "2026-11-01T00:00:00", "2026-11-01T00:00:00+02:00", "2026-13-01T00:00:00Z", "1793491200"]
)
def test_a_time_that_is_none_is_told_how_to_write_one(api: Api, said: str) -> None:
    """Whatever is wrong with it: no zone, no time of day, a plus sign that came as a space, no such month, a number."""
    found = problem(api.get(f"/api/v1/jobs?since={said}"), 400, "invalid_request")
    (fault,) = found.errors
    assert fault.pointer == "since"
    assert fault.detail.startswith("It must be a time with its zone, such as 2026-11-01T00:00:00Z")
    assert "%2B" in fault.detail


def test_a_body_that_is_no_object_is_told_so(api: Api) -> None:
    """In the words of JSON, not in those of Python."""
    response = api.request("POST", f"/api/v1/jobs/{succeed(api)}/reviews", json=["normal"])
    (fault,) = problem(response, 400, "invalid_request").errors
    assert (fault.pointer, fault.detail) == ("#", "It must be a JSON object")


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"label": "a name", "reader": 1}, ["#/label", "#/reader"]),
        ({"label": "normal", "a/b~c d": 1}, ["#/a~1b~0c%20d"]),
        ({}, ["#/label"]),
        ("normal", ["#"]),
    ],
)
def test_each_field_of_a_body_is_pointed_to(api: Api, body: object, pointers: list[str]) -> None:
    """By a JSON pointer as a fragment, RFC 6901; the body itself by an empty one. What it said is not repeated."""
    response = api.request("POST", f"/api/v1/jobs/{succeed(api)}/reviews", json=body)
    found = problem(response, 400, "invalid_request")
    assert [each.pointer for each in found.errors] == pointers
    assert "a name" not in response.text


def test_a_field_of_a_form_has_a_name(api: Api) -> None:
    """Like a parameter."""
    response = api.request("POST", f"/api/v1/jobs/{UNKNOWN}/explanations", data={"method": "guess"})
    assert [each.pointer for each in problem(response, 400, "invalid_request").errors] == ["method"]


def test_other_problems_have_no_fields(api: Api) -> None:
    """The list is there, and empty."""
    assert problem(api.get(f"/api/v1/jobs/{UNKNOWN}"), 404, "job_not_found").errors == []


def test_the_error_of_a_failed_job_is_the_problem_that_it_would_have_been(api: Api) -> None:
    """In its answer and in lists."""
    path = f"/api/v1/jobs/{fail(api)}"
    (listed,) = (api.get("/api/v1/jobs").json or {})["jobs"]
    assert (
        (api.get(path).json or {})["error"]
        == listed["error"]
        == {
            "type": "/problems#blob_missing",
            "title": "The stored film is missing or damaged",
            "status": 500,
            "detail": "The stored film is missing.",
            "code": "blob_missing",
        }
    )
