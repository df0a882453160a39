"""The use cases of webhooks: create, read, change and delete them. Knows no Flask.

Nothing is sent from here: deliveries are sent by a process of its own (`shared/webhooks/`), whose rows these use cases
write and read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from shared import webhook_wire as wire
from shared.db import webhook_queries, webhooks
from shared.db.keys import Principal
from shared.db.webhooks import NewWebhook
from shared.errors import Conflict
from shared.webhooks import signature, targets
from shared.wiring import Resources
from web.batches import REST_S
from web.offload import read, read_row, run_sql

T = TypeVar("T")


def create(resources: Resources, who: Principal, url: str) -> wire.WebhookSecret:
    """Create a webhook; only this answer contains its secret.

    Raises:
        Forbidden: this key may not manage webhooks.
        WebhooksOff: the operator has not enabled webhooks.
        InvalidRequest: the address cannot or must not be sent to.
        Conflict: the tenant has a webhook with this address, or the most webhooks that it may have.
    """
    webhooks.check_admin(who)
    targets.check_on(resources.settings)
    targets.check_url(url, allow_private=resources.settings.webhooks_private)
    new = NewWebhook(resources.new_id(), url, signature.make_secret())
    try:
        made = _change(resources, lambda sql, now: webhooks.make_webhook(sql, who, new, now))
    except IntegrityError:  # a concurrent request made one with this address
        raise Conflict(webhooks.TAKEN) from None
    return _with_secret(made, new.secret)


def get_all(resources: Resources, who: Principal) -> wire.WebhookList:
    """Return all webhooks of the tenant.

    Raises:
        Forbidden: this key may not manage webhooks.
    """
    webhooks.check_admin(who)
    return read_row(resources.database, lambda sql: webhook_queries.list_webhooks(sql, who.tenant))


def get(resources: Resources, who: Principal, webhook_id: str) -> wire.Webhook:
    """Return one webhook.

    Raises:
        Forbidden: this key may not manage webhooks.
        WebhookNotFound: unknown, or of another tenant.
    """
    webhooks.check_admin(who)
    return read_row(resources.database, lambda sql: webhook_queries.get_webhook(sql, who.tenant, webhook_id))


def delete(resources: Resources, who: Principal, webhook_id: str) -> None:
    """Delete a webhook and its deliveries; raises as `get` does."""
    webhooks.check_admin(who)
    _step_by_step(resources, lambda sql, now: webhooks.forget_deliveries(sql, who, webhook_id, now))
    _change(resources, lambda sql, now: webhooks.delete_webhook(sql, who, webhook_id, now))


def rotate(resources: Resources, who: Principal, webhook_id: str) -> wire.WebhookSecret:
    """Rotate a webhook's secret; only this answer contains the new one, and the old one signs too for a day.

    Raises as `get` does.
    """
    webhooks.check_admin(who)
    secret = signature.make_secret()
    return _with_secret(_change(resources, lambda sql, now: webhooks.rotate(sql, who, webhook_id, secret, now)), secret)


def list_deliveries(
    resources: Resources, who: Principal, webhook_id: str, query: wire.DeliveryQuery
) -> wire.DeliveryList:
    """Return one page of a webhook's deliveries; raises as `get` does."""
    webhooks.check_admin(who)
    return read(resources.database, lambda sql: webhook_queries.list_deliveries(sql, who.tenant, webhook_id, query))


def ping(resources: Resources, who: Principal, webhook_id: str) -> wire.Delivery:
    """Enqueue a test delivery without content; raises as `replay` does."""
    webhooks.check_admin(who)
    targets.check_on(resources.settings)
    new_id = resources.new_id()
    return _change(resources, lambda sql, now: webhooks.ping(sql, who, webhook_id, new_id, now))


def replay(resources: Resources, who: Principal, webhook_id: str, delivery_id: str) -> wire.Delivery:
    """Enqueue one delivery again.

    Raises:
        Forbidden: this key may not manage webhooks.
        WebhooksOff: the operator has not enabled webhooks.
        WebhookNotFound, DeliveryNotFound: unknown, or of another tenant.
        Conflict: the webhook is disabled, or the delivery is being sent now.
    """
    webhooks.check_admin(who)
    targets.check_on(resources.settings)
    return _change(resources, lambda sql, now: webhooks.replay(sql, who, webhook_id, delivery_id, now))


def replay_failed(resources: Resources, who: Principal, webhook_id: str, since: datetime) -> wire.Replayed:
    """Enqueue all failed deliveries of events since a time again; raises as `replay` does."""
    webhooks.check_admin(who)
    targets.check_on(resources.settings)
    count = _step_by_step(resources, lambda sql, now: webhooks.replay_failed(sql, who, webhook_id, since, now))
    return wire.Replayed(deliveries=count)


def _with_secret(webhook: wire.Webhook, secret: str) -> wire.WebhookSecret:
    return wire.WebhookSecret(**webhook.model_dump(), secret=secret)


def _step_by_step(resources: Resources, change: Callable[[Connection, datetime], int]) -> int:
    """Repeat `change` until it changes less than a whole step; return the sum. Other writers get turns in between."""
    total = changed = _change(resources, change)
    while changed == webhooks.STEP:
        time.sleep(REST_S)
        changed = _change(resources, change)
        total += changed
    return total


def _change(resources: Resources, change: Callable[[Connection, datetime], T]) -> T:
    database = resources.database

    def inside() -> T:
        with database.begin_core() as sql:
            return change(sql, database.now(sql))

    return run_sql(database, inside)
