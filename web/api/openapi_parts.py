"""Pieces that the OpenAPI document is put together from: operations, answers, parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel

from shared.errors import (
    AppError,
    DatabaseDown,
    InvalidRequest,
    JobDeleted,
    JobNotFound,
    Malformed,
    NotAllowed,
    TooLarge,
    TooSlow,
    UploadsFull,
)

Json = dict[str, Any]  # Any: OpenAPI's own nesting
Problems = Iterable[type[AppError]]

BINARY: Final = {"type": "string", "format": "binary"}

ALWAYS: Final = (NotAllowed, DatabaseDown)
OF_JOB: Final = (JobNotFound, JobDeleted)
OF_BODY: Final = (InvalidRequest, Malformed, TooSlow, TooLarge, UploadsFull)
"""What may be wrong with a body that is read."""


def make_operation(name: str, summary: str, schema: str, parameters: list[Json], problems: Problems = ()) -> Json:
    """One method of a path: what comes of it, and the problems that may."""
    responses = {"200": {"description": summary, "content": json_of(schema)}} | make_problems(problems)
    return {"operationId": name, "summary": summary, "parameters": parameters, "responses": responses}


def make_problems(problems: Problems) -> Json:
    """An answer for each status of these errors and of those that any operation may have, with the status's codes."""
    codes: dict[int, set[str]] = {}
    every: tuple[type[AppError], ...] = (*ALWAYS, *problems)
    for error in every:
        codes.setdefault(error.status, set()).add(error.code)
    if AppError.status in codes:
        codes[AppError.status].add(AppError.code)
    return {str(status): _problem(sorted(codes[status])) for status in sorted(codes)}


def _problem(codes: list[str]) -> Json:
    schema = {"$ref": "#/components/schemas/Problem", "properties": {"code": {"enum": codes}}}
    return {"description": f"code: {', '.join(codes)}", "content": {"application/problem+json": {"schema": schema}}}


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
