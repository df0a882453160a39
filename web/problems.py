"""Every error as RFC 9457 problem details, or as a page for a browser; never with a stack trace or a file path."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from flask import Flask, Response, g, render_template, request
from werkzeug.exceptions import HTTPException

from shared import wire
from shared.errors import AppError, InvalidRequest, Malformed, NotFound
from shared.log import get_logger

log = get_logger(__name__)

RETRY_AFTER_S = 2


def register(app: Flask) -> None:
    """Handle every exception of `app` with `answer`."""
    app.register_error_handler(Exception, answer)


def answer(error: Exception) -> Response:
    """Return the response to any exception; one that is not an `AppError` is logged with a reference."""
    if isinstance(error, HTTPException):
        return _http_answer(error)
    known = error if isinstance(error, AppError) else None
    if known is None:
        reference = secrets.token_hex(4)
        log.error("request.failed", reference=reference, exc_info=error)
        known = AppError(f"An unexpected error occurred; it is in the service's log under {reference}.")
    elif known.status >= 500:  # noqa: PLR2004  server faults
        log.warning(
            "request.refused", code=known.code, **{**known.facts, "why": known.facts.get("why") or known.detail}
        )
    fields = known.fields if isinstance(known, InvalidRequest) else ()
    response = _render(known.code, known.status, known.title, known.detail, fields)
    if known.retryable:
        response.headers["Retry-After"] = str(known.retry_after_s or RETRY_AFTER_S)
    if known.status == 401:  # noqa: PLR2004  RFC 9110 11.6.1 wants the challenge
        response.headers["WWW-Authenticate"] = 'Bearer realm="plainfilm"'
    return response


def _http_answer(error: HTTPException) -> Response:
    """Return the response to one of Werkzeug's errors: unknown address, wrong method, malformed form."""
    if error.code is not None and error.code < 400:  # noqa: PLR2004  a redirect is no error
        return Response(status=error.code, headers=dict(error.get_headers()))
    table: dict[int, type[AppError]] = {400: Malformed, 404: NotFound}
    status = error.code or 500
    kind = table.get(status, InvalidRequest)
    title, detail = error.name, error.description or error.name
    if kind is NotFound:  # our text instead of Werkzeug's
        title, detail = kind.title, "There is nothing at this address."
    response = _render(kind.code, status, title, detail)
    allowed = error.get_response().headers.get("Allow")
    if allowed:
        response.headers["Allow"] = allowed
    return response


def _render(code: str, status: int, title: str, detail: str, fields: Sequence[tuple[str, str]] = ()) -> Response:
    g.problem_code = code  # for the access log
    problem = wire.Problem(
        type=f"/problems#{code}",
        title=title,
        status=status,
        detail=detail,
        instance=request.path,
        code=code,
        errors=[wire.FieldError(pointer=pointer, detail=wrong) for pointer, wrong in fields],
        request_id=g.get("request_id", ""),
    )
    wants_page = request.accept_mimetypes.best_match(["application/problem+json", "text/html"]) == "text/html"
    if wants_page and not request.path.startswith("/api/"):
        return Response(render_template("problem.html", problem=problem), status, mimetype="text/html")
    return Response(problem.model_dump_json(), status, mimetype="application/problem+json")
