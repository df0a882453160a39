"""A request for each answer that the OpenAPI document describes of webhooks, beside those of `api_cases`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from werkzeug.test import TestResponse

from tests.api import Api, make_key
from tests.api_cases import UNKNOWN, Case, send_late

HOOKS = "/api/v1/webhooks"
HOOK = "/api/v1/webhooks/{webhook_id}"
NO_HOOK = f"{HOOKS}/{UNKNOWN}"
NO_DELIVERY = f"{NO_HOOK}/deliveries/{UNKNOWN}"
REPLAY = "/api/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/replay"


def uploader(api: Api) -> Api:
    """The same with a key that may send films."""
    return Api(api.resources, make_key(api.resources.database, role="uploader"))


def with_webhooks(api: Api) -> Api:
    """The same service where its operator has switched webhooks on."""
    settings = api.resources.settings.model_copy(update={"webhooks": True})
    return Api(replace(api.resources, settings=settings), api.key)


def add_webhook(api: Api, url: str = "https://ris.example/films") -> TestResponse:
    """Tell an address of each job that ends."""
    return api.request("POST", HOOKS, json={"url": url})


def ping(api: Api) -> tuple[str, str]:
    """A webhook, and the path of a delivery that waits to be sent to it."""
    made = (add_webhook(api).json or {})["id"]
    delivery = api.request("POST", f"{HOOKS}/{made}/test").json or {}
    return f"{HOOKS}/{made}", f"{HOOKS}/{made}/deliveries/{delivery['id']}"


def on_webhook(ask: Callable[[Api, str], TestResponse]) -> Callable[[Api], TestResponse]:
    """With a webhook's path, where webhooks are on."""

    def asked(api: Api) -> TestResponse:
        api = with_webhooks(api)
        return ask(api, f"{HOOKS}/{(add_webhook(api).json or {})['id']}")

    return asked


def replay_since(api: Api, path: str, since: str = "2026-11-01T00:00:00Z") -> TestResponse:
    """All that failed since then."""
    return api.request("POST", f"{path}/replay", json={"since": since})


def replay_one(api: Api) -> TestResponse:
    """Of a webhook that was tried."""
    api = with_webhooks(api)
    return api.request("POST", f"{ping(api)[1]}/replay")


HOOK_CASES: dict[str, Case] = {
    "webhook": ("POST", HOOKS, 201, lambda api: add_webhook(with_webhooks(api))),
    "webhook badly": ("POST", HOOKS, 400, lambda api: add_webhook(with_webhooks(api), "https://127.0.0.1/")),
    "webhook without the right": ("POST", HOOKS, 403, lambda api: add_webhook(uploader(api))),
    "webhook too slowly": ("POST", HOOKS, 408, lambda api: send_late(api, HOOKS, "application/json")),
    "webhook where they are off": ("POST", HOOKS, 409, add_webhook),
    "webhook at length": ("POST", HOOKS, 413, lambda api: add_webhook(api, "https://" + "x" * 200_000)),
    "webhooks": ("GET", HOOKS, 200, on_webhook(lambda api, _: api.get(HOOKS))),
    "webhook alone": ("GET", HOOK, 200, on_webhook(lambda api, path: api.get(path))),
    "webhook unknown": ("GET", HOOK, 404, lambda api: api.get(NO_HOOK)),
    "webhook removed": ("DELETE", HOOK, 204, on_webhook(lambda api, path: api.request("DELETE", path))),
    "webhook to remove unknown": ("DELETE", HOOK, 404, lambda api: api.request("DELETE", NO_HOOK)),
    "rotate": ("POST", f"{HOOK}/rotate", 200, on_webhook(lambda api, path: api.request("POST", f"{path}/rotate"))),
    "rotate unknown": ("POST", f"{HOOK}/rotate", 404, lambda api: api.request("POST", f"{NO_HOOK}/rotate")),
    "ping": ("POST", f"{HOOK}/test", 202, on_webhook(lambda api, path: api.request("POST", f"{path}/test"))),
    "ping unknown": ("POST", f"{HOOK}/test", 404, lambda api: with_webhooks(api).request("POST", f"{NO_HOOK}/test")),
    "ping where they are off": ("POST", f"{HOOK}/test", 409, lambda api: api.request("POST", f"{NO_HOOK}/test")),
    "replay all": ("POST", f"{HOOK}/replay", 202, on_webhook(replay_since)),
    "replay all badly": ("POST", f"{HOOK}/replay", 400, on_webhook(lambda api, path: replay_since(api, path, "x"))),
    "replay all unknown": ("POST", f"{HOOK}/replay", 404, lambda api: replay_since(with_webhooks(api), NO_HOOK)),
    "replay all too slowly": (
        "POST",
        f"{HOOK}/replay",
        408,
        lambda api: send_late(api, f"{NO_HOOK}/replay", "application/json"),
    ),
    "replay all where they are off": ("POST", f"{HOOK}/replay", 409, lambda api: replay_since(api, NO_HOOK)),
    "replay all at length": ("POST", f"{HOOK}/replay", 413, lambda api: replay_since(api, NO_HOOK, "x" * 200_000)),
    "deliveries": (
        "GET",
        f"{HOOK}/deliveries",
        200,
        lambda api: api.get(f"{ping(with_webhooks(api))[0]}/deliveries"),
    ),
    "deliveries badly": ("GET", f"{HOOK}/deliveries", 400, lambda api: api.get(f"{NO_HOOK}/deliveries?limit=0")),
    "deliveries unknown": ("GET", f"{HOOK}/deliveries", 404, lambda api: api.get(f"{NO_HOOK}/deliveries")),
    "replay": ("POST", REPLAY, 202, replay_one),
    "replay unknown": ("POST", REPLAY, 404, lambda api: with_webhooks(api).request("POST", f"{NO_DELIVERY}/replay")),
    "replay where they are off": ("POST", REPLAY, 409, lambda api: api.request("POST", f"{NO_DELIVERY}/replay")),
}
