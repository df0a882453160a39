"""The calls of `shared/client.py` for webhooks: `Client.webhooks`. Each raises as `Client.submit` does.

A call that changes something is sent with `is_once`: it has no idempotency key, so a retry could do it twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import httpx

from shared.webhook_wire import Delivery, DeliveryList, Replayed, WebhookList, WebhookSecret

WEBHOOKS: Final = "/api/v1/webhooks"


class Ask(Protocol):
    """Sends a request to the service and retries it, see `Client.ask`."""

    def __call__(
        self,
        method: str,
        path: str,
        *,
        is_once: bool = False,
        params: Mapping[str, str] | None = None,
        json: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Return the successful response."""
        ...


class WebhookClient:
    """The webhooks of the key's tenant."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def add(self, url: str) -> WebhookSecret:
        """Register an address to be notified of jobs that end; return it with its secret."""
        response = self._ask("POST", WEBHOOKS, is_once=True, json={"url": url})
        return WebhookSecret.model_validate_json(response.content)

    def list_all(self) -> WebhookList:
        """Return all webhooks of the tenant."""
        return WebhookList.model_validate_json(self._ask("GET", WEBHOOKS).content)

    def rotate(self, webhook_id: str) -> WebhookSecret:
        """Give the webhook another secret and return it."""
        response = self._ask("POST", f"{WEBHOOKS}/{webhook_id}/rotate", is_once=True)
        return WebhookSecret.model_validate_json(response.content)

    def remove(self, webhook_id: str) -> None:
        """Delete the webhook."""
        self._ask("DELETE", f"{WEBHOOKS}/{webhook_id}", is_once=True)

    def ping(self, webhook_id: str) -> Delivery:
        """Have the service send the webhook an event without content; return its delivery."""
        response = self._ask("POST", f"{WEBHOOKS}/{webhook_id}/test", is_once=True)
        return Delivery.model_validate_json(response.content)

    def list_deliveries(self, webhook_id: str, **query: str) -> DeliveryList:
        """Return a page of the webhook's deliveries, newest first."""
        response = self._ask("GET", f"{WEBHOOKS}/{webhook_id}/deliveries", params=query)
        return DeliveryList.model_validate_json(response.content)

    def replay(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Have the service send one delivery again; return it."""
        response = self._ask("POST", f"{WEBHOOKS}/{webhook_id}/deliveries/{delivery_id}/replay", is_once=True)
        return Delivery.model_validate_json(response.content)

    def replay_failed(self, webhook_id: str, since: str) -> int:
        """Have all deliveries sent again that failed since a time (ISO 8601 with its zone); return their number."""
        response = self._ask("POST", f"{WEBHOOKS}/{webhook_id}/replay", is_once=True, json={"since": since})
        return Replayed.model_validate_json(response.content).deliveries
