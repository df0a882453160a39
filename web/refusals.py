"""What gunicorn refuses before there is a request: as problem details, with nothing of what came told back or logged.

And what it answers, in time (`web/sending.py`).

Imported before gevent has patched this process, so what is ours is imported where it is needed.
"""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress
from typing import Final

from gunicorn.http import errors
from gunicorn.workers.ggevent import GeventWorker

from web.sending import AnswersInTime, hold_little

BAD_REQUEST: Final = 400
DRAIN_S: Final = 1.0
DRAINED_BYTES: Final = 2**20
READ_BYTES: Final = 2**16
REFUSALS: Final[tuple[tuple[type[Exception], int, str], ...]] = (
    (errors.LimitRequestLine, 414, "The address is too long."),
    (errors.LimitRequestHeaders, 431, "The headers are too many or too long."),
    (errors.UnsupportedTransferCoding, 501, "The only transfer coding that is read is chunked."),
    (errors.ExpectationFailed, 417, "The only expectation that is met is 100-continue."),
    (errors.InvalidHeaderName, BAD_REQUEST, "The name of a header is not valid."),
    (errors.InvalidHeader, BAD_REQUEST, "A header is not valid, or contradicts another one."),
    (errors.ParseException, BAD_REQUEST, "This is no request of HTTP/1.1."),
)
"""By the first class that fits: status, and what the client is told."""

REASONS: Final = {
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
}
OURS: Final = (errors.ConfigurationProblem, errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)
"""Faults of the service that gunicorn's classes of errors hold as well."""


class PlainWorker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's worker, with refusals of our own form and answers that have to be taken in time."""

    def handle(self, listener: object, client: socket.socket, addr: object) -> None:
        """Answer the requests of a connection."""
        hold_little(client)
        super().handle(listener, client, addr)

    def handle_request(self, listener_name: object, req: object, sock: socket.socket, addr: object) -> None:
        """Answer one of them."""
        try:
            super().handle_request(listener_name, req, AnswersInTime(sock), addr)
        except BrokenPipeError as error:
            if isinstance(error.__cause__, TimeoutError):
                from shared.log import get_logger  # noqa: PLC0415

                get_logger(__name__).info("answer.not_taken")
            raise

    def handle_error(self, _request: object, client: socket.socket, _address: object, error: BaseException) -> None:
        """Answer a request that could not be read, or not be answered; the connection ends with it."""
        from gunicorn.util import write_nonblock  # noqa: PLC0415

        from shared.log import bind_request, get_logger  # noqa: PLC0415

        status, detail = find_refusal(error)
        kind, request_id = type(error).__name__, secrets.token_hex(8)
        bind_request(request_id)  # the connection's last request had another one
        log = get_logger(__name__)
        if status:
            log.warning("request.unreadable", status=status, kind=kind)
        elif isinstance(error, OURS):  # its words may be the client's
            log.error("request.broken", kind=kind)
        else:
            log.error("request.broken", exc_info=error)
        try:
            write_nonblock(client, answer(status or 500, detail, request_id))
        except OSError:
            log.info("request.unanswered", kind=kind)
            return
        with suppress(OSError):
            drain(client)


def drain(client: socket.socket) -> None:
    """Take some of what still comes: closing over it would reset the connection, and the answer with it."""
    client.shutdown(socket.SHUT_WR)
    client.settimeout(DRAIN_S)
    for _ in range(DRAINED_BYTES // READ_BYTES):
        if not client.recv(READ_BYTES):
            break


def find_refusal(error: BaseException) -> tuple[int, str]:
    """Status and sentence; the status is 0 where the fault is ours."""
    if not isinstance(error, OURS):
        for kind, status, detail in REFUSALS:
            if isinstance(error, kind):
                return status, detail
    return 0, "An unexpected fault; it is in the service's log."


def answer(status: int, detail: str, request_id: str) -> bytes:
    """A whole response."""
    from shared import wire  # noqa: PLC0415
    from shared.errors import AppError, InvalidRequest, Malformed  # noqa: PLC0415
    from web.security import HEADERS  # noqa: PLC0415

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
