"""Refuses a query where an operation takes none, by the OpenAPI document: a misplaced parameter would do nothing.

The operations that take one parse theirs by `parse_query`, which refuses what it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Final

from flask import Flask, request

from shared.version import PACKAGE_VERSION
from web.api import openapi
from web.parsing import UNKNOWN, invalid

TO_WAIT: Final = f"{UNKNOWN}; to wait for the answer send the header `Prefer: wait=20`"


def register(app: Flask) -> None:
    """Check the query of each request for an operation of the API; registered after the check of keys."""

    @app.before_request
    def _refuse_query() -> None:
        if not request.args or request.url_rule is None:
            return
        method = "GET" if request.method == "HEAD" else request.method
        if (method, template_of(request.url_rule.rule)) in _without_query():
            raise invalid("query", [(name, name, TO_WAIT if name == "wait" else UNKNOWN) for name in request.args])


def template_of(rule: str) -> str:
    """Return a route's path as OpenAPI writes it: `/jobs/<job_id>` is `/jobs/{job_id}`."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)


@cache
def _without_query() -> AbstractSet[tuple[str, str]]:
    """Return the operations that take no query, by method and path; health checks take what they are given."""
    paths = openapi.build_document(PACKAGE_VERSION)["paths"]
    return {
        (method.upper(), path)
        for path, methods in paths.items()
        for method, operation in methods.items()
        if path.startswith("/api/") and not any(each["in"] == "query" for each in operation.get("parameters", []))
    }
