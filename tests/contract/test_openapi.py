"""The OpenAPI document is valid, names every route and nothing else, and each answer is as it says."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from shared import wire
from shared.client import Refused
from shared.db.engine import Database, make_engine
from shared.domain import JobState
from shared.errors import all_errors
from shared.wiring import Resources
from tests.api import Api, make_key
from tests.api_cases import CASES, JSON_BODIES, UNKNOWN
from tests.factories import make_png
from tests.webhook_cases import HOOK_CASES
from web.api import openapi
from web.api.parameters import template_of

EVERY = CASES | HOOK_CASES

Document = dict[str, Any]
"""Any: OpenAPI's own nesting."""

ITSELF = "/api/v1/openapi.json"
PAGE = "/api/docs"
"""The document does not describe how to get it, nor the page that shows it."""

BATCHES = "/api/v1/batches"
LOOKS_FIRST = {("POST", "/api/v1/jobs/{job_id}/again"), ("POST", "/api/v1/batches/{batch_id}/cancel")}
"""For what is not there: nothing is written."""

TOLD_HEADERS = ("Location", "Retry-After", "Link", "ETag", "Preference-Applied", "WWW-Authenticate", "RateLimit")
"""Where they come they are described."""

CHECKED_IN = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"

OPEN = {"/livez", "/readyz"}
FOR_OPERATORS = {*OPEN, "/metrics"}


@pytest.fixture
def api(resources: Resources) -> Api:
    """An application and an admin's key."""
    small = resources.settings.model_copy(update={"max_upload_bytes": 100_000})
    return Api(replace(resources, settings=small), make_key(resources.database))


@pytest.fixture
def document(api: Api) -> Document:
    """As it is served."""
    found: Document = api.get(ITSELF).json
    return found


def operations(document: Document) -> set[tuple[str, str]]:
    """(METHOD, path template) of the document."""
    return {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}


def routes(api: Api) -> set[tuple[str, str]]:
    """The same of the application: the API, and what operators ask."""
    every = api.app.url_map.iter_rules()
    rules = [rule for rule in every if rule.rule.startswith("/api/") or rule.rule in FOR_OPERATORS]
    return {
        (method, template_of(rule.rule))
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule not in {ITSELF, PAGE}
    }


def test_the_document_is_valid(document: Document) -> None:
    """By the rules of OpenAPI 3.1."""
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


def test_the_document_is_the_one_that_is_checked_in() -> None:
    """So that a change of the API is seen in the diff; whatever else is loaded, such as the command line's client."""
    assert Refused in all_errors()
    is_same = CHECKED_IN.read_text(encoding="utf-8") == openapi.to_text()
    assert is_same, (
        "The API has changed: `make openapi` renews docs/openapi.json; look at its diff before you commit it."
    )


def test_every_route_is_described_and_no_other(api: Api, document: Document) -> None:
    """Both ways: nothing hidden, nothing promised that is not there."""
    assert operations(document) == routes(api)


def test_every_operation_has_a_name_of_its_own(document: Document) -> None:
    """Client generators name their functions by it."""
    names = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(set(names)) == len(names)


def test_query_parameters_are_those_that_are_read(document: Document) -> None:
    """The same names, bounds and words as the models that parse them."""
    listed = {p["name"]: p for p in document["paths"]["/api/v1/jobs"]["get"]["parameters"]}
    assert listed.keys() == wire.ListQuery.model_fields.keys()
    assert (listed["limit"]["schema"]["minimum"], listed["limit"]["schema"]["maximum"]) == (1, 200)
    assert listed["status"]["schema"] == {"$ref": "#/components/schemas/JobState"}
    assert document["components"]["schemas"]["JobState"]["enum"] == [state.value for state in JobState]
    assert listed["batch"]["schema"] == {"type": "string", "format": "uuid", "pattern": wire.ID_PATTERN}
    assert not [name for name, parameter in listed.items() if "null" in str(parameter["schema"])]
    sent = {p["name"] for p in document["paths"]["/api/v1/jobs"]["post"]["parameters"]}
    headers = {"Idempotency-Key", "Prefer", "Cache-Control", "Content-Digest", "traceparent"}
    assert sent == {*wire.SubmitQuery.model_fields, *headers}


def test_every_path_parameter_is_declared(document: Document) -> None:
    """And required."""
    for path, methods in document["paths"].items():
        for operation in methods.values():
            declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path" and p["required"]}
            assert declared == set(re.findall(r"\{(\w+)\}", path)), path


def test_only_health_is_open(document: Document) -> None:
    """Everything else asks for a key and says what comes without one."""
    assert document["security"] == [{"bearer": []}]
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert (operation.get("security") == []) is (path in OPEN)
            assert ("401" in operation["responses"]) is (path not in OPEN)


def test_a_problem_answer_names_codes_that_exist(document: Document) -> None:
    """Each code of a status is one of that status."""
    known = {(str(error.status), error.code) for error in all_errors()}
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                assert {(status, code) for code in codes_of(response)} <= known


def codes_of(answer: Document) -> list[str]:
    """Those that an answer may carry, by its description."""
    return re.findall(r"\w+", answer["description"].partition("code: ")[2])


def test_every_operation_is_of_one_part(document: Document) -> None:
    """Generators make a file of each tag; what receivers are sent has its own, lest it takes another's place."""
    known = {tag["name"] for tag in document["tags"]}
    tags = {tag for methods in document["paths"].values() for each in methods.values() for tag in each["tags"]}
    sent = {tag for methods in document["webhooks"].values() for each in methods.values() for tag in each["tags"]}
    assert tags | sent == known
    assert not tags & sent


# -- answers ---------------------------------------------------------------------------------------------------------


def check(document: Document, method: str, template: str, response: TestResponse) -> None:
    """The answer is one that the document has: status, type, body and headers."""
    described = document["paths"][template][method.lower()]["responses"]
    assert str(response.status_code) in described, (method, template, response.status_code, response.text)
    answer = described[str(response.status_code)]
    headers = answer.get("headers", {})
    assert {name for name, header in headers.items() if header["required"]} <= set(response.headers.keys())
    assert {name for name in TOLD_HEADERS if name in response.headers} <= headers.keys()
    if "content" not in answer:
        assert response.data == b""
        return
    assert response.mimetype in answer["content"], response.mimetype
    if response.mimetype.endswith("json"):
        whole = {**answer["content"][response.mimetype]["schema"], "components": document["components"]}
        Draft202012Validator(whole, format_checker=FormatChecker()).validate(response.json)
    if response.mimetype == "application/problem+json":
        assert (response.json or {})["code"] in codes_of(answer)


@pytest.mark.parametrize("name", EVERY)
def test_an_answer_is_as_described(api: Api, document: Document, name: str) -> None:
    """Status, content type, headers and body."""
    method, template, status, ask = EVERY[name]
    response = ask(api)
    assert response.status_code == status, response.text
    check(document, method, template, response)


@pytest.mark.parametrize("method_and_path", sorted({case[:2] for case in EVERY.values()}))
def test_a_dead_database_is_described_everywhere(
    api: Api, document: Document, method_and_path: tuple[str, str]
) -> None:
    """503 may come from any operation that reads, /readyz included; /livez does not ask."""
    dead = Database(make_engine(api.resources.settings.sql_url))

    def refuse(*_arguments: object) -> None:
        raise OperationalError("connect", None, ConnectionRefusedError())

    event.listen(dead.engine, "do_connect", refuse)
    response = send(api, dead, *method_and_path)
    assert response.status_code == (200 if method_and_path[1] == "/livez" else 503)
    check(document, *method_and_path, response)


@pytest.mark.parametrize(
    "method_and_path", sorted({case[:2] for case in EVERY.values() if case[0] != "GET"} - LOOKS_FIRST)
)
def test_a_full_database_is_described_where_something_is_written(
    api: Api, document: Document, method_and_path: tuple[str, str]
) -> None:
    """507, as SQLite says it: with an exception that has its number."""
    full = Database(make_engine(api.resources.settings.sql_url))
    cause = sqlite3.OperationalError("database or disk is full")
    cause.sqlite_errorcode = sqlite3.SQLITE_FULL

    def refuse(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement == "BEGIN IMMEDIATE":
            raise OperationalError(statement, None, cause)

    event.listen(full.engine, "before_cursor_execute", refuse)
    response = send(api, full, *method_and_path)
    assert response.status_code == 507, response.text
    check(document, *method_and_path, response)


def send(api: Api, database: Database, method: str, template: str) -> TestResponse:
    """A request of the right form, about nothing that is there, to an application over that database."""
    ids = dict.fromkeys(("job_id", "batch_id", "webhook_id", "delivery_id"), UNKNOWN)
    kind = "application/json" if template in JSON_BODIES else "image/png"
    body = JSON_BODIES.get(template, make_png())
    settings = api.resources.settings.model_copy(update={"webhooks": True})
    return Api(replace(api.resources, database=database, settings=settings), api.key).request(
        method,
        template.format(**ids, method="grad_cam"),
        {} if template == BATCHES else {"Content-Type": kind},
        data=body if method == "POST" and template != BATCHES else None,
    )


def test_every_operation_is_tried(document: Document) -> None:
    """A new route needs its case above, for each answer that is not everyone's."""
    tried = {(method, template, str(status)) for method, template, status, _ in EVERY.values()}
    described = {
        (method.upper(), path, status)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        for status in operation["responses"]
    }
    common = {"401", "403", "503", "507", "default"}
    assert not {case for case in described - tried if case[2] not in common}


def test_the_check_can_fail(api: Api, document: Document) -> None:
    """A body that is not of its schema is noticed."""
    response = api.get("/readyz")
    document["components"]["schemas"]["Readiness"]["required"].append("colour")
    with pytest.raises(Exception, match="colour"):
        check(document, "GET", "/readyz", response)
