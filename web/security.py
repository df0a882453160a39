"""Authentication and browser security: keys, one-time links, sessions, CSRF, response headers."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta

from flask import Flask, Response, g, request, session
from flask_wtf.csrf import CSRFError, CSRFProtect

from shared.db import keys
from shared.db.keys import Principal
from shared.errors import Forbidden, NotAllowed
from shared.log import bind_request
from shared.rights import Right
from shared.wiring import Resources
from web.offload import read_row, write

SESSION_LIFE = timedelta(hours=8)
OPEN_PATHS = re.compile(
    r"/(livez|readyz|problems|left|enter/[^/]+|static/.*|api/docs|api/v1/openapi\.json|favicon\.ico)"
)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LEAVE = "/leave"
"""Address that ends the caller's own session; the only change that every role may make."""

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context of version 00: trace and parent, neither of them all zeros, and flags."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

csrf = CSRFProtect()


def register(app: Flask, resources: Resources) -> None:
    """Authenticate and authorize every request of `app` before its view; set security headers on every response."""
    csrf.init_app(app)

    @app.before_request
    def _admit() -> None:
        client_id = request.headers.get("X-Request-Id", "")
        traced = TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
        trace_id = traced[1] if traced else None
        g.request_id = client_id if REQUEST_ID.fullmatch(client_id) else trace_id or secrets.token_hex(8)
        bind_request(g.request_id, trace_id)
        if not OPEN_PATHS.fullmatch(request.path):
            g.principal = identify(resources)
            _check_role(g.principal)

    @app.after_request
    def _harden(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if resources.settings.secure_cookies:  # a proxy in front of us terminates TLS
            response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        if not request.path.startswith("/static/"):
            response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Request-Id"] = g.get("request_id", "")
        return response


def identify(resources: Resources) -> Principal:
    """Return the caller, by `Authorization: Bearer` or by the browser session; a session needs a CSRF token to write.

    Raises:
        NotAllowed: there is no valid key and no valid session.
        Forbidden: an unsafe request of a browser session lacks its CSRF token.
    """
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return read_row(resources.database, lambda sql: keys.get_principal(sql, key.strip()))
    key_id = session.get("key_id")
    if not key_id or _is_over(session.get("since", 0)):
        raise NotAllowed(
            "Send `Authorization: Bearer <key>`, or open the one-time link that `plainfilm key link` prints."
        )
    if request.method not in SAFE_METHODS:
        _check_csrf()
    return read_row(resources.database, lambda sql: keys.get_principal_by_id(sql, str(key_id)))


def enter(resources: Resources, token: str) -> None:
    """Begin a browser session with a one-time token.

    Raises:
        NotAllowed: the token was used or has expired.
    """
    now = resources.database.now
    principal = write(resources.database, lambda sql: keys.use_link(sql, token, now(sql)))
    session.clear()
    session.update(key_id=principal.key_id, since=int(datetime.now(UTC).timestamp()))
    session.permanent = True


def check_operator(principal: Principal) -> None:
    """Check that a key may read the numbers of the whole service.

    Raises:
        Forbidden: its role lacks the right.
    """
    if not principal.may(Right.OPERATE):
        raise Forbidden("These figures cover all tenants: an admin's or an auditor's key is required.")


def leave() -> None:
    """End the browser session. A copied cookie stays valid until the session expires or its key is revoked."""
    session.clear()


def _is_over(since: int) -> bool:
    return datetime.now(UTC) - datetime.fromtimestamp(since, UTC) > SESSION_LIFE


def _check_role(principal: Principal) -> None:
    if request.method in SAFE_METHODS or request.path == LEAVE:
        return
    if not principal.may(Right.CHANGE):
        raise Forbidden("This key has read-only access.")


def _check_csrf() -> None:
    try:
        csrf.protect()
    except CSRFError as error:
        raise Forbidden("This page is out of date; reload it and try again.") from error
