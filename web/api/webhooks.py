"""`/api/v1/webhooks`: parses requests, calls use cases, translates their results."""

from __future__ import annotations

from flask import Blueprint, Response, g
from pydantic import BaseModel

from shared import webhook_wire as wire
from shared.db.webhook_queries import NO_DELIVERY, missing
from shared.errors import DeliveryNotFound
from shared.wiring import Resources
from web import webhooks
from web.parsing import is_id, parse_json, parse_query


def create_blueprint(resources: Resources) -> Blueprint:
    """Return the routes over `resources`."""
    api = Blueprint("webhooks", __name__, url_prefix="/api/v1/webhooks")

    @api.post("")
    def create_webhook() -> Response:
        url = parse_json(wire.WebhookRequest).url
        made = webhooks.create(resources, g.principal, url)
        return _answer(made, 201, {"Location": f"/api/v1/webhooks/{made.id}"})

    @api.get("")
    def list_webhooks() -> Response:
        return _answer(webhooks.get_all(resources, g.principal))

    @api.get("/<webhook_id>")
    def get_webhook(webhook_id: str) -> Response:
        return _answer(webhooks.get(resources, g.principal, _checked(webhook_id)))

    @api.delete("/<webhook_id>")
    def delete_webhook(webhook_id: str) -> Response:
        webhooks.delete(resources, g.principal, _checked(webhook_id))
        return Response(status=204)

    @api.post("/<webhook_id>/rotate")
    def rotate_webhook(webhook_id: str) -> Response:
        return _answer(webhooks.rotate(resources, g.principal, _checked(webhook_id)))

    @api.post("/<webhook_id>/test")
    def ping_webhook(webhook_id: str) -> Response:
        return _answer(webhooks.ping(resources, g.principal, _checked(webhook_id)), 202)

    _add_deliveries(api, resources)
    return api


def _add_deliveries(api: Blueprint, resources: Resources) -> None:
    @api.get("/<webhook_id>/deliveries")
    def list_deliveries(webhook_id: str) -> Response:
        query = parse_query(wire.DeliveryQuery)
        return _answer(webhooks.list_deliveries(resources, g.principal, _checked(webhook_id), query))

    @api.post("/<webhook_id>/deliveries/<delivery_id>/replay")
    def replay_delivery(webhook_id: str, delivery_id: str) -> Response:
        ids = _checked(webhook_id), _checked_delivery(delivery_id)
        return _answer(webhooks.replay(resources, g.principal, *ids), 202)

    @api.post("/<webhook_id>/replay")
    def replay_failed(webhook_id: str) -> Response:
        since = parse_json(wire.ReplayRequest).since
        return _answer(webhooks.replay_failed(resources, g.principal, _checked(webhook_id), since), 202)


def _checked(webhook_id: str) -> str:
    if not is_id(webhook_id):
        raise missing()
    return webhook_id


def _checked_delivery(delivery_id: str) -> str:
    if not is_id(delivery_id):
        raise DeliveryNotFound(NO_DELIVERY)
    return delivery_id


def _answer(model: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(model.model_dump_json(), status, mimetype="application/json", headers=headers)
