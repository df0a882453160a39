"""What came with a request, as checked values; each refusal names what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final, TypeVar
from urllib.parse import quote

from flask import request
from pydantic import BaseModel, ValidationError

from shared.errors import BatchNotFound, InvalidRequest, JobNotFound, TooLarge

Parsed = TypeVar("Parsed", bound=BaseModel)

Place = tuple[int | str, ...]
"""Of a field, as pydantic tells it."""

ID_LENGTH: Final = 36

MOST_JSON_BYTES: Final = 16 * 1024
"""Of a request: each asks for a word or two, and what is parsed takes thirty times as much room."""


def parse_query(model: type[Parsed]) -> Parsed:
    """The query string as `model`; raises as `parse` does."""
    return _parse(model, request.args.to_dict(), "query", _name_of)


def parse_form(model: type[Parsed]) -> Parsed:
    """A page's form, without its CSRF token, as `model`; raises as `parse` does."""
    given = {name: value for name, value in request.form.items() if name != "csrf_token"}
    return _parse(model, given, "request", _name_of)


def parse_json(model: type[Parsed]) -> Parsed:
    """The body as `model`; raises as `_parse` does, and as `read_json`."""
    return _parse(model, read_json(), "request", _pointer_to)


def _parse(model: type[Parsed], given: object, what: str, tell_place: Callable[[Place], str]) -> Parsed:
    """What came as `model`.

    Raises:
        InvalidRequest: names each field that is wrong, and says of `what` it is one.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)
        told = "; ".join(f"{_name_of(each['loc']) or 'body'}: {each['msg']}" for each in wrong)
        fields = [(tell_place(each["loc"]), each["msg"]) for each in wrong]
        raise InvalidRequest(f"The {what} is not valid: {told}.", fields) from None


def _name_of(place: Place) -> str:
    return ".".join(map(str, place))


def _pointer_to(place: Place) -> str:
    """A JSON pointer as the fragment of a URI (RFC 6901, 6)."""
    return "#" + "".join(f"/{quote(str(step).replace('~', '~0').replace('/', '~1'), safe='~')}" for step in place)


def checked_id(job_id: str) -> str:
    """A job id of the right form; any other cannot exist.

    Raises:
        JobNotFound: the same answer as for an unknown id.
    """
    if not is_id(job_id):
        raise JobNotFound("There is no job with this id.")
    return job_id


def checked_batch_id(batch_id: str) -> str:
    """A batch's id likewise.

    Raises:
        BatchNotFound: the same answer as for an unknown id.
    """
    if not is_id(batch_id):
        raise BatchNotFound("There is no batch with this id.")
    return batch_id


def is_id(given: str) -> bool:
    """Whether it has the form of our ids."""
    return len(given) == ID_LENGTH and not set(given) - set("0123456789abcdef-")


def lower_ids(_endpoint: str | None, values: dict[str, str] | None) -> None:
    """In an address, before its view is called: some write UUIDs in capitals."""
    if values:
        values.update({name: value.lower() for name, value in values.items() if name.endswith("_id")})


def idempotency_key() -> str | None:
    """What the client names this request by, so that it may send it again.

    Raises:
        InvalidRequest: longer than 128 characters, or one that cannot be printed.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not key.strip() or len(key) > 128 or not key.isprintable():  # noqa: PLR2004  the column's width
        told = "must be 1 to 128 printable characters"
        raise InvalidRequest(f"Idempotency-Key {told}.", [("Idempotency-Key", told)])
    return key


def read_json() -> object:
    """The body.

    Raises:
        InvalidRequest: it is no JSON, is not called so, or is nested too deep to be read.
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
        raise InvalidRequest("The request's body is no JSON that can be read.") from error
