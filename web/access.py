"""The access log: one INFO line per request with route, caller, status and duration.

The route's pattern is logged instead of the address, which contains ids. A stream is logged when it begins.
"""

from __future__ import annotations

import time

from flask import Flask, Response, g, request

from shared.log import get_logger

log = get_logger(__name__)


def register(app: Flask) -> None:
    """Log each request of `app`; registered first, so that the duration covers all other hooks."""

    @app.before_request
    def _begin() -> None:
        g.began_at = time.perf_counter()

    @app.after_request
    def _log(response: Response) -> Response:
        who = g.get("principal")
        log.info(
            "request",
            method=request.method,
            route=request.url_rule.rule if request.url_rule else None,
            status=response.status_code,
            code=g.get("problem_code"),
            duration_ms=round(1000 * (time.perf_counter() - g.began_at), 1),
            key_id=who.key_id if who else None,
            tenant=who.tenant if who else None,
        )
        return response
