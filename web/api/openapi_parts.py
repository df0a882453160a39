"""Pieces that the OpenAPI document is put together from: operations, answers, parameters."""

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
"""What may be wrong with a body that is read."""


def make_operation(name: str, summary: str, schema: str, parameters: list[Json], problems: Problems = ()) -> Json:
    """One method of a path: what comes of it, and the problems that may."""
    responses = {"200": {"description": summary, "content": json_of(schema)}} | make_problems(problems)
    return {"operationId": name, "summary": summary, "parameters": parameters, "responses": responses}


def make_binary(name: str, summary: str, parameters: list[Json], types: list[str], problems: Problems) -> Json:
    """One method of a path that answers bytes of these types."""
    responses = {"200": {"description": summary, "content": bytes_of(types)}} | make_problems(problems)
    return {"operationId": name, "summary": summary, "parameters": parameters, "responses": responses}


def make_problems(problems: Problems) -> Json:
    """An answer for each status of these errors and of those that any operation may have, with the status's codes."""
    by_status: dict[int, set[type[AppError]]] = {}
    every: tuple[type[AppError], ...] = (*ALWAYS, *problems)
    for error in every:
        by_status.setdefault(error.status, set()).add(error)
    answers = {str(status): _problem(by_status[status]) for status in sorted(by_status)}
    return answers | {"default": {"description": OTHERWISE, "content": PROBLEM}}


def _problem(errors: Collection[type[AppError]]) -> Json:
    codes = {error.code for error in errors}
    if AppError.status in {error.status for error in errors}:
        codes.add(AppError.code)  # a fault of ours has the same status
    answer: Json = {"description": f"code: {', '.join(sorted(codes))}", "content": PROBLEM}
    headers = {}
    if any(error.retryable for error in errors):
        headers["Retry-After"] = seconds_header("before it may be sent again", is_sure=all(e.retryable for e in errors))
    if NotAllowed in errors:
        headers["WWW-Authenticate"] = text_header("Bearer")
    return answer | ({"headers": headers} if headers else {})


def bytes_of(types: Iterable[str]) -> Json:
    """A body of any of these types."""
    return {kind: {"schema": BINARY} for kind in types}


def json_of(schema: str) -> Json:
    """A JSON body, by the name of its schema."""
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def text_header(description: str, *, is_sure: bool = True) -> Json:
    """A header of an answer; one that is not sure is there where its description says."""
    return {"description": description, "required": is_sure, "schema": {"type": "string"}}


def seconds_header(description: str, *, is_sure: bool = True) -> Json:
    """Likewise, a number of seconds."""
    return {"description": description, "required": is_sure, "schema": {"type": "integer"}}


def make_parameter(name: str, place: str, schema: Json, description: str, *, required: bool = True) -> Json:
    """One parameter; `place` is path, query or header."""
    return {"name": name, "in": place, "required": required, "schema": schema, "description": description}


def make_query(model: type[BaseModel]) -> list[Json]:
    """Query parameters, lists of words by their names among the schemas; none may be null: it is left out."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return [
        make_parameter(name, "query", _plain(field), field.get("description", ""), required=False)
        for name, field in schema["properties"].items()
    ]


def _plain(field: Json) -> Json:
    """What a parameter may be, without the word that it may be absent."""
    (only,) = [option for option in field.get("anyOf", [field]) if option.get("type") != "null"]
    if "$ref" in only:
        return {"$ref": only["$ref"]}
    outer = {key: value for key, value in field.items() if key not in {"anyOf", "description", "title"}}
    found = {**only, **outer}
    return {key: value for key, value in found.items() if key not in {"description", "title"} and value is not None}


AGAIN_UNLESS_DONE: Final = seconds_header("until asking again makes sense, unless it is done", is_sure=False)
