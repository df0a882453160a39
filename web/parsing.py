"""What came with a request, as checked values; each refusal names what is wrong."""

from __future__ import annotations

from typing import Final, TypeVar

from flask import request
from pydantic import BaseModel, ValidationError

from shared.errors import BatchNotFound, InvalidRequest, JobNotFound

Parsed = TypeVar("Parsed", bound=BaseModel)

JOB_ID_LENGTH: Final = 36


def parse_query(model: type[Parsed]) -> Parsed:
    """The query string as `model`; raises as `parse` does."""
    return parse(model, request.args.to_dict(), "query")


def parse_form(model: type[Parsed]) -> Parsed:
    """A page's form, without its CSRF token, as `model`; raises as `parse` does."""
    return parse(model, {name: value for name, value in request.form.items() if name != "csrf_token"}, "request")


def parse(model: type[Parsed], given: object, what: str) -> Parsed:
    """What came as `model`.

    Raises:
        InvalidRequest: names each field that is wrong, and says of `what` it is one.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors())
        raise InvalidRequest(f"The {what} is not valid: {wrong}.") from None


def checked_id(job_id: str) -> str:
    """A job id of the right form; any other cannot exist.

    Raises:
        JobNotFound: the same answer as for an unknown id.
    """
    if not _is_id(job_id):
        raise JobNotFound("There is no job with this id.")
    return job_id


def checked_batch_id(batch_id: str) -> str:
    """A batch's id likewise.

    Raises:
        BatchNotFound: the same answer as for an unknown id.
    """
    if not _is_id(batch_id):
        raise BatchNotFound("There is no batch with this id.")
    return batch_id


def _is_id(given: str) -> bool:
    return len(given) == JOB_ID_LENGTH and not set(given) - set("0123456789abcdef-")


def idempotency_key() -> str | None:
    """What the client names this request by, so that it may send it again.

    Raises:
        InvalidRequest: longer than 128 characters, or one that cannot be printed.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not key.strip() or len(key) > 128 or not key.isprintable():  # noqa: PLR2004  the column's width
        raise InvalidRequest("Idempotency-Key must be 1 to 128 printable characters.")
    return key


def read_json() -> object:
    """The body; None where it is no JSON, or nested too deep to be read."""
    try:
        return request.get_json(silent=True)
    except RecursionError:
        return None
