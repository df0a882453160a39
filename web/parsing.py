"""What came with a request, as checked values; each refusal names what is wrong."""

from __future__ import annotations

from typing import Final, TypeVar

from flask import request
from pydantic import BaseModel, ValidationError

from shared.errors import InvalidRequest, JobNotFound

Parsed = TypeVar("Parsed", bound=BaseModel)

JOB_ID_LENGTH: Final = 36


def parse_query(model: type[Parsed]) -> Parsed:
    """The query string as `model`; raises as `parse` does."""
    return parse(model, request.args.to_dict(), "query")


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
    if len(job_id) != JOB_ID_LENGTH or set(job_id) - set("0123456789abcdef-"):
        raise JobNotFound("There is no job with this id.")
    return job_id


def read_json() -> object:
    """The body; None where it is no JSON, or nested too deep to be read."""
    try:
        return request.get_json(silent=True)
    except RecursionError:
        return None
