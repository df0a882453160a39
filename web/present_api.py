"""How the OpenAPI document reads on a page: operations and objects as plain values. Pure."""

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
    """What may come back: a status, what it is, what it means, and the headers that come with it."""

    status: str
    kinds: tuple[str, ...]
    meaning: str
    headers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path; `bodies` are the types that a request may bring."""

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
    """An object, or a list of words, that answers are made of."""

    name: str
    meaning: str
    words: tuple[str, ...]
    fields: tuple[Value, ...]


def list_operations(document: Json) -> list[Operation]:
    """All operations, in the document's order."""
    return [
        _operation(method.upper(), path, found)
        for path, methods in document["paths"].items()
        for method, found in methods.items()
    ]


def list_shapes(document: Json) -> list[Shape]:
    """All objects by name."""
    schemas = document["components"]["schemas"]
    return [_shape(name, schemas[name]) for name in sorted(schemas)]


def describe_type(schema: Json) -> str:
    """The type that a schema allows, in words: names of objects, and what a value is bounded by."""
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


def _operation(method: str, path: str, found: Json) -> Operation:
    bodies = found.get("requestBody", {}).get("content", {})
    return Operation(
        name=found["operationId"],
        method=method,
        path=path,
        summary=found["summary"],
        is_open=found.get("security") == [],
        values=tuple(_parameter(each) for each in found.get("parameters", ())),
        bodies=tuple(bodies),
        answers=tuple(_answer(status, each) for status, each in sorted(found["responses"].items())),
    )


def _parameter(found: Json) -> Value:
    schema = found["schema"]
    return Value(found["name"], found["in"], describe_type(schema), found["required"], found.get("description", ""))


def _answer(status: str, found: Json) -> Answer:
    kinds = [
        describe_type(each["schema"]) if kind.endswith("json") else kind
        for kind, each in found.get("content", {}).items()
    ]
    return Answer(status, tuple(kinds), found["description"], tuple(found.get("headers", ())))


def _shape(name: str, schema: Json) -> Shape:
    required = set(schema.get("required", ()))
    fields = [
        Value(field, "", describe_type(each), field in required, each.get("description", ""))
        for field, each in schema.get("properties", {}).items()
    ]
    meaning = schema.get("description", "").partition("\n")[0]
    return Shape(name, meaning, tuple(map(str, schema.get("enum", ()))), tuple(fields))
