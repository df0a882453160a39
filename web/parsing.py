"""Parses requests into checked values; each refusal names the field that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Final, TypeVar
from urllib.parse import quote

from flask import request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from shared.db.batches import NO_BATCH
from shared.db.queries import NO_JOB
from shared.errors import BatchNotFound, InvalidRequest, JobNotFound, TooLarge

Parsed = TypeVar("Parsed", bound=BaseModel)

Place = tuple[int | str, ...]
"""The location of a field, as pydantic reports it."""

ID_LENGTH: Final = 36

_NO_TIME: Final = (
    "It must be a time with its zone, such as 2026-11-01T00:00:00Z or, in a query, 2026-11-01T02:00:00%2B02:00"
)
UNKNOWN: Final = "There is no such parameter"
_MESSAGES: Final = {
    "model_type": "It must be a JSON object",
    "timezone_aware": _NO_TIME,
    "datetime_from_date_parsing": _NO_TIME,
    "datetime_parsing": _NO_TIME,
    "not_written_out": _NO_TIME,
}
"""What is wrong with a field, by the type of the error, where pydantic would say it in words of Python."""

MOST_JSON_BYTES: Final = 16 * 1024
"""Limit of a JSON body: requests need a few words, and parsed JSON takes thirty times its size in memory."""


def parse_query(model: type[Parsed]) -> Parsed:
    """Return the query string as `model`.

    Raises:
        InvalidRequest: names each field that is wrong, or comes more than once.
    """
    repeated = [name for name, values in request.args.lists() if len(values) > 1]
    if repeated:
        raise invalid("query", [(name, name, "It may be given only once") for name in repeated])
    return _parse(model, request.args.to_dict(), "query", _name_of)


def parse_form(model: type[Parsed]) -> Parsed:
    """Return a page's form, without its CSRF token, as `model`.

    Raises:
        InvalidRequest: names each field that is wrong.
    """
    fields = {name: value for name, value in request.form.items() if name != "csrf_token"}
    return _parse(model, fields, "request", _name_of)


def parse_json(model: type[Parsed]) -> Parsed:
    """Return the JSON body as `model`.

    Raises:
        InvalidRequest: names each field that is wrong; or the body is no JSON.
        TooLarge: the body has more than `MOST_JSON_BYTES`.
    """
    return _parse(model, read_json(), "request", _pointer_to)


def _parse(model: type[Parsed], values: object, source: str, to_pointer: Callable[[Place], str]) -> Parsed:
    """Validate `values` as `model`.

    Args:
        source: 'query' or 'request', for the message.
        to_pointer: how the answer names the place of a field.

    Raises:
        InvalidRequest: names each field that is wrong.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        named = [
            (_name_of(fault["loc"]) or "body", to_pointer(fault["loc"]), _message_of(fault, source)) for fault in faults
        ]
        raise invalid(source, named) from None


def invalid(source: str, faults: Sequence[tuple[str, str, str]]) -> InvalidRequest:
    """Return the refusal for faults, each with the name and the pointer of its field and what is wrong with it."""
    summary = "; ".join(f"{name}: {message}" for name, _, message in faults)
    return InvalidRequest(
        f"The {source} is not valid: {summary}.", [(pointer, message) for _, pointer, message in faults]
    )


def _message_of(fault: ErrorDetails, source: str) -> str:
    if fault["type"] == "extra_forbidden":
        return UNKNOWN if source == "query" else "There is no such field"
    return _MESSAGES.get(fault["type"], fault["msg"])


def _name_of(place: Place) -> str:
    return ".".join(map(str, place))


def _pointer_to(place: Place) -> str:
    """Return a JSON pointer as the fragment of a URI (RFC 6901, section 6)."""
    return "#" + "".join(f"/{quote(str(step).replace('~', '~0').replace('/', '~1'), safe='~')}" for step in place)


def checked_id(job_id: str) -> str:
    """Return a job id that has the form of our ids.

    Raises:
        JobNotFound: it has another form; the same answer as for an unknown id.
    """
    if not is_id(job_id):
        raise JobNotFound(NO_JOB)
    return job_id


def checked_batch_id(batch_id: str) -> str:
    """Return a batch id that has the form of our ids.

    Raises:
        BatchNotFound: it has another form; the same answer as for an unknown id.
    """
    if not is_id(batch_id):
        raise BatchNotFound(NO_BATCH)
    return batch_id


def is_id(text: str) -> bool:
    """Whether a text has the form of our ids."""
    return len(text) == ID_LENGTH and not set(text) - set("0123456789abcdef-")


def lower_ids(_endpoint: str | None, values: dict[str, str] | None) -> None:
    """Lower the ids in an address before its view is called: some clients write UUIDs in capitals."""
    if values:
        values.update({name: value.lower() for name, value in values.items() if name.endswith("_id")})


def idempotency_key() -> str | None:
    """Return the request's `Idempotency-Key`, by which a client may repeat it; None without one.

    Raises:
        InvalidRequest: it is blank, longer than 128 characters or not printable.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not key.strip() or len(key) > 128 or not key.isprintable():  # noqa: PLR2004  the column's width
        rule = "must be 1 to 128 printable characters"
        raise InvalidRequest(f"Idempotency-Key {rule}.", [("Idempotency-Key", rule)])
    return key


def read_json() -> object:
    """Return the parsed JSON body.

    Raises:
        InvalidRequest: the body is no JSON, has another content type or is nested too deep.
        TooLarge: it has more than `MOST_JSON_BYTES`; the rest was not read.
    """
    if not request.is_json:
        raise InvalidRequest("The request's body must be JSON, sent with Content-Type: application/json.")
    body = b""
    while len(body) <= MOST_JSON_BYTES and (piece := request.stream.read(MOST_JSON_BYTES + 1 - len(body))):
        body += piece
    if len(body) > MOST_JSON_BYTES:
        raise TooLarge(f"The request has more than {MOST_JSON_BYTES} bytes of JSON.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("The request's body is not valid JSON, or is nested too deeply.") from error
