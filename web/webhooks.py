"""The use cases of webhooks: make one, look at it, change it; knows no Flask. Nothing is sent from here.

What is sent is the business of a process of its own (`shared/webhooks/`); here its rows are made and read.
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
    """Make one; its secret is told this once.

    Raises:
        Forbidden: this key may not.
        WebhooksOff: the operator has not switched them on.
        InvalidRequest: nothing can be sent to this address.
        Conflict: there is one with this address, or there are as many as there may be.
    """
    webhooks.check_admin(who)
    targets.check_on(resources.settings)
    targets.check_url(url, allow_private=resources.settings.webhooks_private)
    new = NewWebhook(resources.new_id(), url, signature.make_secret())
    try:
        made = _change(resources, lambda sql, now: webhooks.make_webhook(sql, who, new, now))
    except IntegrityError:  # another request came first
        raise Conflict(webhooks.TAKEN) from None
    return _with_secret(made, new.secret)


def get_all(resources: Resources, who: Principal) -> wire.WebhookList:
    """All of the tenant.

    Raises:
        Forbidden: this key may not.
    """
    webhooks.check_admin(who)
    return read_row(resources.database, lambda sql: webhook_queries.list_webhooks(sql, who.tenant))


def get(resources: Resources, who: Principal, webhook_id: str) -> wire.Webhook:
    """One of them.

    Raises:
        Forbidden: this key may not.
        WebhookNotFound: unknown, or of another tenant.
    """
    webhooks.check_admin(who)
    return read_row(resources.database, lambda sql: webhook_queries.get_webhook(sql, who.tenant, webhook_id))


def delete(resources: Resources, who: Principal, webhook_id: str) -> None:
    """Remove one, with what is known of its deliveries; raises as `get`."""
    webhooks.check_admin(who)
    _step_by_step(resources, lambda sql, now: webhooks.forget_deliveries(sql, who, webhook_id, now))
    _change(resources, lambda sql, now: webhooks.delete_webhook(sql, who, webhook_id, now))


def rotate(resources: Resources, who: Principal, webhook_id: str) -> wire.WebhookSecret:
    """Another secret, told this once; for a day the old one signs too. Raises as `get`."""
    webhooks.check_admin(who)
    secret = signature.make_secret()
    return _with_secret(_change(resources, lambda sql, now: webhooks.rotate(sql, who, webhook_id, secret, now)), secret)


def list_deliveries(
    resources: Resources, who: Principal, webhook_id: str, query: wire.DeliveryQuery
) -> wire.DeliveryList:
    """A page of its deliveries; raises as `get`."""
    webhooks.check_admin(who)
    return read(resources.database, lambda sql: webhook_queries.list_deliveries(sql, who.tenant, webhook_id, query))


def ping(resources: Resources, who: Principal, webhook_id: str) -> wire.Delivery:
    """Have something sent that says nothing; raises as `replay`."""
    webhooks.check_admin(who)
    targets.check_on(resources.settings)
    new_id = resources.new_id()
    return _change(resources, lambda sql, now: webhooks.ping(sql, who, webhook_id, new_id, now))


def replay(resources: Resources, who: Principal, webhook_id: str, delivery_id: str) -> wire.Delivery:
    """Have one delivery sent again.

    Raises:
        Forbidden: this key may not.
        WebhooksOff: the operator has not switched them on.
        WebhookNotFound, DeliveryNotFound: unknown, or of another tenant.
        Conflict: the webhook is disabled, or the delivery is just being sent.
    """
    webhooks.check_admin(who)
    targets.check_on(resources.settings)
    return _change(resources, lambda sql, now: webhooks.replay(sql, who, webhook_id, delivery_id, now))


def replay_failed(resources: Resources, who: Principal, webhook_id: str, since: datetime) -> wire.Replayed:
    """Have all sent again that failed of the events since then; raises as `replay`."""
    webhooks.check_admin(who)
    targets.check_on(resources.settings)
    found = _step_by_step(resources, lambda sql, now: webhooks.replay_failed(sql, who, webhook_id, since, now))
    return wire.Replayed(deliveries=found)


def _with_secret(found: wire.Webhook, secret: str) -> wire.WebhookSecret:
    return wire.WebhookSecret(**found.model_dump(), secret=secret)


def _step_by_step(resources: Resources, change: Callable[[Connection, datetime], int]) -> int:
    """Until one is no whole step; how many in all. Between two of them others write."""
    done = changed = _change(resources, change)
    while changed == webhooks.STEP:
        time.sleep(REST_S)
        changed = _change(resources, change)
        done += changed
    return done


def _change(resources: Resources, change: Callable[[Connection, datetime], T]) -> T:
    database = resources.database

    def inside() -> T:
        with database.begin_core() as sql:
            return change(sql, database.now(sql))

    return run_sql(database, inside)
