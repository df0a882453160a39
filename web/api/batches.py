"""`/api/v1/batches`: parses requests, calls use cases, translates their results. Films go to `/api/v1/jobs`."""

from __future__ import annotations

import hashlib

from flask import Blueprint, Response, g, request

from shared.errors import UnsupportedFormat
from shared.wiring import Resources
from web import batches
from web.batches import Progress
from web.parsing import checked_batch_id, idempotency_key
from web.waiting import ask_again_in_s


def create_blueprint(resources: Resources) -> Blueprint:
    """Return the routes over `resources`."""
    api = Blueprint("batches", __name__, url_prefix="/api/v1/batches")

    @api.post("")
    def create_batch() -> Response:
        _refuse_body()
        batch_id = batches.create(resources, g.principal, idempotency_key())
        progress = batches.get(resources, g.principal, batch_id)
        return _answer(progress, 201, {"Location": progress.batch.links.self})

    @api.get("/<batch_id>")
    def get_batch(batch_id: str) -> Response:
        response = _answer(batches.get(resources, g.principal, checked_batch_id(batch_id)), 200, {})
        response.set_etag(hashlib.sha256(response.data).hexdigest()[:32], weak=True)
        response.make_conditional(request)
        return response

    @api.post("/<batch_id>/cancel")
    def cancel_batch(batch_id: str) -> Response:
        batches.cancel(resources, g.principal, checked_batch_id(batch_id))
        return _answer(batches.get(resources, g.principal, batch_id), 200, {})

    return api


def _refuse_body() -> None:
    """Refuse a body: a client that sent an archive must not believe that its films were taken.

    Raises:
        UnsupportedFormat: the request has a body.
    """
    if request.content_length or "Transfer-Encoding" in request.headers:
        raise UnsupportedFormat(
            "Create the batch with an empty body, then send its films to /api/v1/jobs?batch=<id>, one by one."
        )


def _answer(progress: Progress, status: int, headers: dict[str, str]) -> Response:
    response = Response(progress.batch.model_dump_json(), status, mimetype="application/json", headers=headers)
    if not progress.batch.done:
        response.headers["Retry-After"] = str(ask_again_in_s(progress.eta_s))
    return response
