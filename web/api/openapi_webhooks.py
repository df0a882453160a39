"""The webhooks' part of the OpenAPI document: their operations, and the requests that a receiver gets."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel

from shared import webhook_wire as wire
from shared.errors import (
    Conflict,
    DeliveryNotFound,
    Forbidden,
    InvalidRequest,
    StorageFull,
    WebhookNotFound,
    WebhooksOff,
)
from web.api.openapi_parts import OF_BODY, Json, json_of, make_operation, make_parameter, make_query, text_header

MODELS: Final[tuple[type[BaseModel], ...]] = (
    wire.Webhook,
    wire.WebhookSecret,
    wire.WebhookList,
    wire.WebhookRequest,
    wire.Delivery,
    wire.DeliveryList,
    wire.ReplayRequest,
    wire.Replayed,
    wire.JobEnded,
    wire.Ping,
)

OF_ONE_ASKED: Final = (Forbidden, WebhookNotFound)
OF_CHANGE: Final = (*OF_ONE_ASKED, StorageFull)
OF_SENDING: Final = (*OF_CHANGE, Conflict, WebhooksOff)

OF_ONE: Final = "/api/v1/webhooks/{webhook_id}"


def build_paths() -> Json:
    """Return the operations; all need an admin's key."""
    webhook_id = [_id("webhook_id", "the webhook's id")]
    both = [*webhook_id, _id("delivery_id", "the delivery's id, the receiver's `webhook-id`")]
    words = "Tell an address of each job that ends from now on; the secret is shown this once"
    create = make_operation(
        "createWebhook", words, "WebhookSecret", [], [*OF_BODY, Forbidden, Conflict, WebhooksOff, StorageFull]
    )
    created = create["responses"].pop("200") | {"headers": {"Location": text_header("the webhook")}}
    create["responses"]["201"] = created
    create["requestBody"] = _body("WebhookRequest")
    remove = make_operation(
        "deleteWebhook", "Tell a webhook nothing more, and forget its deliveries", "Webhook", webhook_id, OF_CHANGE
    )
    remove["responses"]["204"] = {"description": "it is removed"}
    del remove["responses"]["200"]
    words = "Send all again that failed since a time"
    again = _accepted(make_operation("replayFailed", words, "Replayed", webhook_id, [*OF_BODY, *OF_SENDING]))
    again["requestBody"] = _body("ReplayRequest")
    words = "What a webhook was told, newest first, with each try"
    listed = make_operation(
        "listDeliveries",
        words,
        "DeliveryList",
        [*webhook_id, *make_query(wire.DeliveryQuery)],
        [InvalidRequest, *OF_ONE_ASKED],
    )
    once = make_operation(
        "replayDelivery", "Send one delivery again", "Delivery", both, [*OF_SENDING, DeliveryNotFound]
    )
    words = "Have a ping sent, once"
    ping = make_operation("testWebhook", words, "Delivery", webhook_id, OF_SENDING)
    words = "Make another secret; the one before signs too for 24 hours"
    return {
        "/api/v1/webhooks": {
            "post": create,
            "get": make_operation("listWebhooks", "All webhooks of the tenant", "WebhookList", [], [Forbidden]),
        },
        OF_ONE: {
            "get": make_operation("getWebhook", "One webhook", "Webhook", webhook_id, OF_ONE_ASKED),
            "delete": remove,
        },
        f"{OF_ONE}/rotate": {"post": make_operation("rotateWebhook", words, "WebhookSecret", webhook_id, OF_CHANGE)},
        f"{OF_ONE}/test": {"post": _accepted(ping)},
        f"{OF_ONE}/replay": {"post": again},
        f"{OF_ONE}/deliveries": {"get": listed},
        f"{OF_ONE}/deliveries/{{delivery_id}}/replay": {"post": _accepted(once)},
    }


def build_webhooks(tag: str) -> Json:
    """Return the requests to receivers, under a tag of their own."""
    return {
        "jobEnded": {"post": _sent("jobEnded", "A job has ended", "JobEnded") | {"tags": [tag]}},
        "ping": {"post": _sent("ping", "An admin tries the webhook", "Ping") | {"tags": [tag]}},
    }


def _sent(name: str, summary: str, schema: str) -> Json:
    headers = [
        make_parameter(f"webhook-{word}", "header", {"type": "string"}, meaning)
        for word, meaning in (
            ("id", "of the delivery: the same at each try, so that one that came twice is known"),
            ("timestamp", "of the try, in seconds since 1970"),
            (
                "signature",
                "by Standard Webhooks 1.0: `v1,` and an HMAC-SHA256 in base64; of several any may be checked",
            ),
        )
    ]
    answers = {
        "2XX": {"description": "taken; with any other answer, a redirect too, it is sent again"},
        "410": {"description": "nothing more is to be sent: the webhook is disabled"},
    }
    return {
        "operationId": name,
        "summary": summary,
        "security": [],
        "parameters": headers,
        "requestBody": _body(schema),
        "responses": answers,
    }


def _accepted(operation: Json) -> Json:
    operation["responses"]["202"] = operation["responses"].pop("200")
    return operation


def _body(schema: str) -> Json:
    return {"required": True, "content": json_of(schema)}


def _id(name: str, meaning: str) -> Json:
    return make_parameter(name, "path", {"type": "string", "format": "uuid"}, meaning)
