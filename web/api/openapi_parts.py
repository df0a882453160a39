"""Pieces that the OpenAPI document is put together from: operations, answers, parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel

from shared import errors
from shared.errors import all_errors

Json = dict[str, Any]  # Any: OpenAPI's own nesting

BINARY: Final = {"type": "string", "format": "binary"}


def make_operation(name: str, summary: str, schema: str, parameters: list[Json], problems: list[int]) -> Json:
    """One method of a path: what comes of it, and the problems that may."""
    responses = {"200": {"description": summary, "content": json_of(schema)}} | make_problems(problems)
    return {"operationId": name, "summary": summary, "parameters": parameters, "responses": responses}


def make_problems(statuses: list[int]) -> Json:
    """401 and 503 always, and the given ones, each naming the codes it may carry; what is not there may be deleted."""
    gone = {410} if 404 in statuses else set()  # noqa: PLR2004  not found
    codes: dict[int, list[str]] = {}
    for error in all_errors():
        if error.__module__ == errors.__name__:  # the service's, not the command line's, which may be loaded as well
            codes.setdefault(error.status, []).append(error.code)
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(status): {"description": "code: " + ", ".join(sorted(set(codes[status]))), "content": content}
        for status in sorted({401, 503, *statuses} | gone)
    }


def bytes_of(types: Iterable[str]) -> Json:
    """A body of any of these types."""
    return {kind: {"schema": BINARY} for kind in types}


def json_of(schema: str) -> Json:
    """A JSON body, by the name of its schema."""
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def text_header(description: str) -> Json:
    """A header of an answer."""
    return {"description": description, "schema": {"type": "string"}}


def make_parameter(name: str, place: str, schema: Json, description: str, *, required: bool = True) -> Json:
    """One parameter; `place` is path, query or header."""
    return {"name": name, "in": place, "required": required, "schema": schema, "description": description}


def make_query(model: type[BaseModel]) -> list[Json]:
    """Query parameters with their schemas inlined: they are few and flat."""
    schema = model.model_json_schema()
    named = schema.get("$defs", {})
    return [
        make_parameter(name, "query", _inline(field, named), field.get("description", ""), required=False)
        for name, field in schema["properties"].items()
    ]


def _inline(field: Json, named: Json) -> Json:
    if "$ref" in field:
        rest = {key: value for key, value in field.items() if key != "$ref"}
        return {**named[field["$ref"].rsplit("/", 1)[1]], **rest}
    if "anyOf" in field:
        return {**field, "anyOf": [_inline(option, named) for option in field["anyOf"]]}
    return field
