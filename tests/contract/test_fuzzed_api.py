"""The API under requests that schemathesis makes of its own document, both of its form and against it."""

from __future__ import annotations

from typing import Final

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import positive_data_acceptance, response_schema_conformance

from shared.wiring import Resources
from tests.api import Api, make_key
from tests.jobs import claim, finish
from web.api.openapi import build_document

DOCUMENT: Final = "/api/v1/openapi.json"
OPERATIONS: Final = [
    (path, name, operation)
    for path, operations in build_document("tests")["paths"].items()
    for name, operation in operations.items()
]
TAKES_SOMETHING: Final = [(path, name) for path, name, operation in OPERATIONS if operation.get("parameters")]
OF_A_JOB: Final = [(path, name) for path, name, _ in OPERATIONS if "{job_id}" in path]
EXAMPLES: Final = 25
UNTOLD: Final = [positive_data_acceptance]
"""A film may be bytes, as the document says, and still be none."""
UNTOLD_OF_EVENTS: Final = [*UNTOLD, response_schema_conformance]
"""A stream is a text to the document, whose schema schemathesis would have of each event."""


@pytest.fixture
def api(resources: Resources) -> Api:
    """An application and an admin's key."""
    return Api(resources, make_key(resources.database))


def fuzz(api: Api, place: tuple[str, str], mode: GenerationMode, **parts: object) -> None:
    """Requests to one operation, each answer held against the document; `parts` are fixed."""
    path, name = place
    operation = schemathesis.openapi.from_wsgi(DOCUMENT, api.app)[path][name]
    key = {"Authorization": f"Bearer {api.key}"}

    @settings(max_examples=EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(mode, **parts))
    def ask(case: schemathesis.Case) -> None:
        assume([] not in (case.query or {}).values())  # of which nothing is sent, so that nothing can be refused
        case.call_and_validate(headers=key, excluded_checks=UNTOLD_OF_EVENTS if path.endswith("/events") else UNTOLD)

    ask()


@pytest.mark.parametrize("place", [(path, name) for path, name, _ in OPERATIONS], ids=" ".join)
def test_what_is_of_the_form_is_answered_as_the_document_says(api: Api, place: tuple[str, str]) -> None:
    """No fault of ours, and no status, header or body that is not described."""
    fuzz(api, place, GenerationMode.POSITIVE)


@pytest.mark.parametrize("place", TAKES_SOMETHING, ids=" ".join)
def test_what_is_not_of_the_form_is_refused(api: Api, place: tuple[str, str]) -> None:
    """Nothing is taken that the document forbids. Headers stay right: a key left out would be put in again."""
    fuzz(api, place, GenerationMode.NEGATIVE, headers={"Prefer": "wait=0"})


@pytest.mark.parametrize("place", OF_A_JOB, ids=" ".join)
def test_a_job_that_is_there_is_told_as_the_document_says(api: Api, place: tuple[str, str]) -> None:
    """One with film, result and map, until a request deletes it."""
    job_id = api.submit().json["id"]
    finish(api.resources.database, claim(api.resources.database)[0])
    fixed: dict[str, object] = {"path_parameters": {"job_id": job_id, "method": "grad_cam"}}
    if place[0].endswith("/again"):  # no worker is there to end what each of them makes
        fixed["headers"] = {"Prefer": "wait=0"}
    fuzz(api, place, GenerationMode.POSITIVE, **fixed)
