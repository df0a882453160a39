"""`create_app(resources)`: builds the Flask application from its blueprints."""

from __future__ import annotations

import json
import secrets

from flask import Flask, Response

from shared import private_files
from shared.settings import Settings
from shared.version import PACKAGE_VERSION
from shared.wiring import Resources
from web import access, again_page, bodies, operations, pages, problems, security
from web.api import (
    audit,
    batches,
    docs,
    events,
    explanations,
    export,
    films,
    health,
    jobs,
    metrics,
    openapi,
    parameters,
    reviews,
    webhooks,
)
from web.backpressure import Backpressure
from web.intake import Intake, count_seats
from web.parsing import lower_ids
from web.upload_budget import Budget
from web.waiting import WaitingRoom

FORM_MEMORY_BYTES = 256 * 1024
"""Least that Werkzeug's parser works with: it counts its own 64 KiB read buffer, file parts included."""

FORM_OVERHEAD_BYTES = 64 * 1024
"""Allowance for the multipart framing around a film of the largest size."""

WAITING_ROOM = "plainfilm-waiting-room"
"""Key of the `WaitingRoom` in the application's `extensions`; the process's SIGTERM handler uses it."""


def create_app(resources: Resources) -> Flask:
    """Return the application over `resources`; nothing is connected or started here."""
    app = Flask("web")
    settings = resources.settings
    app.config.update(
        SECRET_KEY=session_secret(settings),
        SESSION_COOKIE_NAME="__Host-plainfilm" if settings.secure_cookies else "plainfilm",
        SESSION_COOKIE_SECURE=settings.secure_cookies,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=security.SESSION_LIFE,
        SESSION_REFRESH_EACH_REQUEST=False,  # a fixed end, and no Set-Cookie on polls and films
        MAX_CONTENT_LENGTH=settings.max_upload_bytes + FORM_OVERHEAD_BYTES,
        MAX_FORM_MEMORY_SIZE=FORM_MEMORY_BYTES,
        MAX_FORM_PARTS=8,
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=False,  # it requires a Referer, which our Referrer-Policy suppresses
    )
    room = WaitingRoom(resources.database, resources.notifier, settings)
    app.extensions[WAITING_ROOM] = room
    admission = Backpressure(resources.database, settings)
    intake = Intake(count_seats(settings.decoders))
    access.register(app)
    app.url_value_preprocessor(lower_ids)
    bodies.register(app, Budget(settings.upload_budget_bytes, settings.max_upload_bytes))
    problems.register(app)
    security.register(app, resources)
    parameters.register(app)
    app.register_blueprint(jobs.create_blueprint(resources, room, admission, intake))
    app.register_blueprint(batches.create_blueprint(resources))
    app.register_blueprint(export.create_blueprint(resources))
    app.register_blueprint(events.create_blueprint(resources, room))
    app.register_blueprint(films.create_blueprint(resources))
    app.register_blueprint(explanations.create_blueprint(resources))
    app.register_blueprint(reviews.create_blueprint(resources))
    app.register_blueprint(audit.create_blueprint(resources))
    app.register_blueprint(webhooks.create_blueprint(resources))
    app.register_blueprint(health.create_blueprint(resources))
    app.register_blueprint(metrics.create_blueprint(resources, admission))
    app.register_blueprint(docs.create_blueprint())
    app.register_blueprint(operations.create_blueprint(resources, admission))
    app.register_blueprint(pages.create_blueprint(resources, admission))
    app.register_blueprint(again_page.create_blueprint(resources, admission))

    @app.get("/api/v1/openapi.json")
    def get_openapi() -> Response:
        return Response(json.dumps(openapi.build_document(PACKAGE_VERSION)), mimetype="application/json")

    return app


def session_secret(settings: Settings) -> str:
    """Return the key that signs browser sessions: the setting, else one generated once and stored in the home."""
    if settings.session_secret is not None:
        return settings.session_secret.get_secret_value()
    return private_files.read_or_make(settings.home / "session-secret", lambda: secrets.token_hex(32))
