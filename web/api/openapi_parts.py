"""Parts of the OpenAPI document: operations, responses, parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterable
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

PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
OTHERWISE: Final = (
    "what HTTP itself refuses, such as 405, 414 and 431, with the code `invalid_request` or `malformed_request`; or a "
    "fault of ours, `internal`"
)
BINARY: Final = {"type": "string", "format": "binary"}

ALWAYS: Final = (NotAllowed, DatabaseDown)
OF_JOB: Final = (JobNotFound, JobDeleted)
OF_BODY: Final = (InvalidRequest, Malformed, TooSlow, TooLarge, UploadsFull)
"""Errors of every operation that reads a body."""


def make_operation(name: str, summary: str, schema: str, parameters: list[Json], problems: Problems = ()) -> Json:
    """Return an operation that answers JSON, with the errors that it may answer."""
    responses = {"200": {"description": summary, "content": json_of(schema)}} | make_problems(problems)
    return {"operationId": name, "summary": summary, "parameters": parameters, "responses": responses}


def make_binary(name: str, summary: str, parameters: list[Json], types: list[str], problems: Problems) -> Json:
    """Return an operation that answers bytes of these content types."""
    responses = {"200": {"description": summary, "content": bytes_of(types)}} | make_problems(problems)
    return {"operationId": name, "summary": summary, "parameters": parameters, "responses": responses}


def make_problems(problems: Problems) -> Json:
    """Return one response per status of these errors and of those of every operation, listing the status's codes."""
    by_status: dict[int, set[type[AppError]]] = {}
    every: tuple[type[AppError], ...] = (*ALWAYS, *problems)
    for error in every:
        by_status.setdefault(error.status, set()).add(error)
    answers = {str(status): _problem(by_status[status]) for status in sorted(by_status)}
    return answers | {"default": {"description": OTHERWISE, "content": PROBLEM}}


def _problem(errors: Collection[type[AppError]]) -> Json:
    codes = {error.code for error in errors}
    if AppError.status in {error.status for error in errors}:
        codes.add(AppError.code)  # an internal error has the same status
    answer: Json = {"description": f"code: {', '.join(sorted(codes))}", "content": PROBLEM}
    headers = {}
    if any(error.retryable for error in errors):
        headers["Retry-After"] = seconds_header("before it may be sent again", is_sure=all(e.retryable for e in errors))
    if NotAllowed in errors:
        headers["WWW-Authenticate"] = text_header("Bearer")
    return answer | ({"headers": headers} if headers else {})


def bytes_of(types: Iterable[str]) -> Json:
    """Return the content of a body of any of these types."""
    return {kind: {"schema": BINARY} for kind in types}


def json_of(schema: str) -> Json:
    """Return the content of a JSON body by the name of its schema."""
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def text_header(description: str, *, is_sure: bool = True) -> Json:
    """Return a text header of a response; one that is not sure is present only in the described case."""
    return {"description": description, "required": is_sure, "schema": {"type": "string"}}


def seconds_header(description: str, *, is_sure: bool = True) -> Json:
    """Return a header of a number of seconds; one that is not sure is present only in the described case."""
    return {"description": description, "required": is_sure, "schema": {"type": "integer"}}


def make_parameter(name: str, place: str, schema: Json, description: str, *, required: bool = True) -> Json:
    """Return a parameter; `place` is 'path', 'query' or 'header'."""
    return {"name": name, "in": place, "required": required, "schema": schema, "description": description}


def make_query(model: type[BaseModel]) -> list[Json]:
    """Return a model's fields as query parameters; enumerations refer to their schemas, and none may be null."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return [
        make_parameter(name, "query", _plain(field), field.get("description", ""), required=False)
        for name, field in schema["properties"].items()
    ]


def _plain(field: Json) -> Json:
    """Return the schema of an optional parameter without its null alternative."""
    (only,) = [option for option in field.get("anyOf", [field]) if option.get("type") != "null"]
    if "$ref" in only:
        return {"$ref": only["$ref"]}
    outer = {key: value for key, value in field.items() if key not in {"anyOf", "description", "title"}}
    schema = {**only, **outer}
    return {key: value for key, value in schema.items() if key not in {"description", "title"} and value is not None}


AGAIN_UNLESS_DONE: Final = seconds_header("until asking again makes sense, unless it is done", is_sure=False)
