"""Turns the OpenAPI document into plain values for its page: operations and objects. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Json = Mapping[str, Any]  # Any: OpenAPI's own nesting

FORMATS: Final = {"date-time": "time (ISO 8601)", "binary": "bytes", "uuid": "UUID"}


@dataclass(frozen=True, slots=True)
class Value:
    """A parameter, or a field of an object.

    Attributes:
        place: 'query', 'header' or 'path'; empty for a field.
        kind: its type in words.
    """

    name: str
    place: str
    kind: str
    is_required: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One possible response: status, content types or objects, meaning, and header names."""

    status: str
    kinds: tuple[str, ...]
    meaning: str
    headers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path; `bodies` are the content types of the request."""

    name: str
    method: str
    path: str
    summary: str
    is_open: bool
    values: tuple[Value, ...]
    bodies: tuple[str, ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """One schema: an object with its fields, or an enumeration with its words."""

    name: str
    meaning: str
    words: tuple[str, ...]
    fields: tuple[Value, ...]


def list_operations(document: Json) -> list[Operation]:
    """Return all operations in the document's order."""
    return [
        _operation(method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def list_shapes(document: Json) -> list[Shape]:
    """Return all schemas, sorted by name."""
    schemas = document["components"]["schemas"]
    return [_shape(name, schemas[name]) for name in sorted(schemas)]


def describe_type(schema: Json) -> str:
    """Return the type of a schema in words: names of objects, and the bounds of numbers."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(describe_type(each) for each in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        words: Sequence[object] = schema.get("enum") or [schema["const"]]
        return ", ".join(f"`{word}`" for word in words)
    if schema.get("type") == "array":
        return f"list of {describe_type(schema['items'])}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"{describe_type(schema['additionalProperties'])} by name"
    kind = FORMATS.get(schema.get("format", ""), schema.get("type", "anything"))
    return f"{kind}{_bounds(schema)}"


def _bounds(schema: Json) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f", {low} to {high}"
    return f", {low} or more" if low is not None else ""


def _operation(method: str, path: str, operation: Json) -> Operation:
    bodies = operation.get("requestBody", {}).get("content", {})
    return Operation(
        name=operation["operationId"],
        method=method,
        path=path,
        summary=operation["summary"],
        is_open=operation.get("security") == [],
        values=tuple(_parameter(each) for each in operation.get("parameters", ())),
        bodies=tuple(bodies),
        answers=tuple(_answer(status, each) for status, each in sorted(operation["responses"].items())),
    )


def _parameter(parameter: Json) -> Value:
    schema = parameter["schema"]
    return Value(
        parameter["name"],
        parameter["in"],
        describe_type(schema),
        parameter["required"],
        parameter.get("description", ""),
    )


def _answer(status: str, response: Json) -> Answer:
    kinds = [
        describe_type(each["schema"]) if kind.endswith("json") else kind
        for kind, each in response.get("content", {}).items()
    ]
    return Answer(status, tuple(kinds), response["description"], tuple(response.get("headers", ())))


def _shape(name: str, schema: Json) -> Shape:
    required = set(schema.get("required", ()))
    fields = [
        Value(field, "", describe_type(each), field in required, each.get("description", ""))
        for field, each in schema.get("properties", {}).items()
    ]
    meaning = schema.get("description", "").partition("\n")[0]
    return Shape(name, meaning, tuple(map(str, schema.get("enum", ()))), tuple(fields))
