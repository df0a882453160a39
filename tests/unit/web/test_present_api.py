"""The OpenAPI document as a page: everything in it is on it, in words, and every link leads somewhere."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from tests.api import Api
from web import present_api
from web.api.openapi import build_document

DOCUMENT = build_document("7.0")


@pytest.fixture(scope="module")
def operations() -> list[present_api.Operation]:
    """Of the whole document."""
    return present_api.list_operations(DOCUMENT)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string"}, "string"),
        ({"type": "string", "format": "date-time"}, "time (ISO 8601)"),
        ({"type": "integer", "minimum": 1, "maximum": 200}, "integer, 1 to 200"),
        ({"type": "number", "minimum": 0}, "number, 0 or more"),
        ({"enum": ["stat", "bulk"], "type": "string"}, "`stat`, `bulk`"),
        ({"const": "x"}, "`x`"),
        ({"$ref": "#/components/schemas/Job"}, "Job"),
        ({"anyOf": [{"$ref": "#/components/schemas/Result"}, {"type": "null"}]}, "Result or null"),
        ({"type": "array", "items": {"type": "string"}}, "list of string"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "number by name"),
        ({}, "anything"),
    ],
)
def test_a_type_is_told_in_words(schema: dict[str, Any], words: str) -> None:
    """Any: JSON Schema's own nesting."""
    assert present_api.describe_type(schema) == words


def test_nothing_of_the_document_is_left_out(operations: list[present_api.Operation]) -> None:
    """Each operation with its parameters and answers, each object with its fields."""
    assert {(each.method.lower(), each.path) for each in operations} == {
        (method, path) for path, methods in DOCUMENT["paths"].items() for method in methods
    }
    for each in operations:
        found = DOCUMENT["paths"][each.path][each.method.lower()]
        assert [value.name for value in each.values] == [value["name"] for value in found.get("parameters", [])]
        assert {answer.status for answer in each.answers} == set(found["responses"])
    assert {each.name for each in operations if each.is_open} == {"livez", "readyz"}
    shapes = {shape.name: shape for shape in present_api.list_shapes(DOCUMENT)}
    assert set(shapes) == set(DOCUMENT["components"]["schemas"])
    assert [field.name for field in shapes["Job"].fields] == list(
        DOCUMENT["components"]["schemas"]["Job"]["properties"]
    )
    assert "queued" in shapes["JobState"].words


def test_the_page_is_open_and_its_links_lead_somewhere(api: Api, operations: list[present_api.Operation]) -> None:
    """Without a key; every operation, field and code has its place on it."""
    answer = api.client.get("/api/docs", headers={"Accept": "text/html"})
    assert answer.status_code == 200
    page = unescape(answer.text)
    assert all(f'id="{each.name}"' in page and f"{each.method} {each.path}" in page for each in operations)
    assert {"other_probability", "Idempotency-Key", "job_deleted"} <= set(re.findall(r"[\w-]+", page))
    places = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= places
    assert len(re.findall(r'id="([^"]+)"', page)) == len(places)
    assert "`" not in re.sub(r"<pre>.*?</pre>", "", page, flags=re.DOTALL)
