"""Refusals of requests that gunicorn could not parse: problem details; neither they nor the log quote the request.

Flask never sees these requests; its errors are in `web/problems.py`. Called by `web/gunicorn_worker.py`.
"""

from __future__ import annotations

from typing import Final

from gunicorn.http import errors

from shared import wire
from shared.errors import AppError, InvalidRequest, Malformed
from shared.log import get_logger
from web.security import HEADERS

log = get_logger(__name__)

BAD_REQUEST: Final = 400
REFUSALS: Final[tuple[tuple[type[Exception], int, str], ...]] = (
    (errors.LimitRequestLine, 414, "The address is too long."),
    (errors.LimitRequestHeaders, 431, "The headers are too many or too long."),
    (errors.UnsupportedTransferCoding, 501, "The only supported transfer coding is chunked."),
    (errors.ExpectationFailed, 417, "The only supported expectation is 100-continue."),
    (errors.InvalidHeaderName, BAD_REQUEST, "The name of a header is not valid."),
    (errors.InvalidHeader, BAD_REQUEST, "A header is not valid, or contradicts another one."),
    (errors.ParseException, BAD_REQUEST, "This is not a valid HTTP/1.1 request."),
)
"""gunicorn's error class, HTTP status, detail for the client; the first class that matches counts."""

REASONS: Final = {
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
}
OURS: Final = (errors.ConfigurationProblem, errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)
"""Faults of the service whose classes derive from gunicorn's classes for faults of the client."""


def refuse(error: BaseException, request_id: str) -> bytes:
    """Log an error of a request and return the whole response to it."""
    status, detail = find_refusal(error)
    kind = type(error).__name__
    if status:
        log.warning("request.unreadable", status=status, kind=kind)
    elif isinstance(error, OURS):  # its message may quote the client
        log.error("request.broken", kind=kind)
    else:
        log.error("request.broken", exc_info=error)
    return answer(status or 500, detail, request_id)


def find_refusal(error: BaseException) -> tuple[int, str]:
    """Return HTTP status and detail of an error; the status is 0 where the fault is the service's."""
    if not isinstance(error, OURS):
        for kind, status, detail in REFUSALS:
            if isinstance(error, kind):
                return status, detail
    return 0, "An unexpected error occurred; it is in the service's log."


def answer(status: int, detail: str, request_id: str) -> bytes:
    """Return a whole HTTP response with problem details, which closes the connection."""
    kind: type[AppError] = {500: AppError, BAD_REQUEST: Malformed}.get(status, InvalidRequest)
    title = REASONS.get(status, kind.title)
    problem = wire.Problem(
        type=f"/problems#{kind.code}", title=title, status=status, detail=detail, code=kind.code, request_id=request_id
    )
    body = problem.model_dump_json().encode()
    headers = {
        **HEADERS, "Content-Type": "application/problem+json", "Content-Length": str(len(body)),
        "Cache-Control": "no-store", "X-Request-Id": request_id, "Connection": "close",
    }  # fmt: skip
    lines = [f"HTTP/1.1 {status} {problem.title}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body
