"""One line in the log for each request: what was asked, by whom, what came of it. No address: it has ids in it.

At level INFO. A stream's line comes when it begins.
"""

from __future__ import annotations

import time

from flask import Flask, Response, g, request

from shared.log import get_logger

log = get_logger(__name__)


def register(app: Flask) -> None:
    """Before all else of `app`, so that it begins to count first and sees the finished response."""

    @app.before_request
    def _begin() -> None:
        g.began = time.perf_counter()

    @app.after_request
    def _tell(response: Response) -> Response:
        who = g.get("principal")
        log.info(
            "request",
            method=request.method,
            route=request.url_rule.rule if request.url_rule else None,
            status=response.status_code,
            code=g.get("problem_code"),
            duration_ms=round(1000 * (time.perf_counter() - g.began), 1),
            key_id=who.key_id if who else None,
            tenant=who.tenant if who else None,
        )
        return response
