"""Changes of webhooks by admins: made, secret rotated, deleted, each audited; deliveries pinged and replayed.

The sending is in `deliveries`. Every transaction that changes a webhook and its deliveries locks the webhook first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import Row, delete, insert, select, update

from shared import webhook_wire
from shared.db import audit, webhook_queries
from shared.db.deliveries import RESTS, TRIES, WAITS_AT_MOST
from shared.db.engine import Sql
from shared.db.keys import Principal
from shared.db.tables import AuditHead, Tenant, table_of
from shared.db.webhook_tables import Delivery, Webhook
from shared.domain import DeliveryState
from shared.errors import Conflict, DeliveryNotFound, Forbidden
from shared.rights import Right

MOST_WEBHOOKS: Final = 10
"""The limit for one tenant: each webhook gets a delivery for every job that ends."""

OLD_SECRET_LIFE: Final = timedelta(hours=24)
"""After a rotation the old secret signs too for this long, so that receivers can switch at any time."""

TAKEN: Final = "There is a webhook with this address already; where its secret is lost, rotate it."

DISABLED: Final = "There is a webhook with this address that gets nothing more; remove it, and make it again."

STEP: Final = 1000
"""Deliveries that one transaction deletes or replays, so that uploads do not wait long for its locks."""


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook to be inserted."""

    id: str
    url: str
    secret: str


def check_admin(who: Principal) -> None:
    """Check that this key may read and change webhooks.

    Raises:
        Forbidden: the key is no admin's; the address of a webhook may contain a password of its receiver.
    """
    if not who.may(Right.WEBHOOKS):
        raise Forbidden("Webhooks require an admin's key.")


def make_webhook(sql: Sql, who: Principal, new: NewWebhook, now: datetime) -> webhook_wire.Webhook:
    """Make a webhook and return it; it gets the events from now on.

    Raises:
        Conflict: the tenant has one with this address, or `MOST_WEBHOOKS`.
    """
    sql.execute(select(Tenant.id).where(Tenant.id == who.tenant).with_for_update(key_share=True))  # one at a time
    rows = sql.execute(select(Webhook.url, Webhook.disabled_at).where(Webhook.tenant == who.tenant))
    disabled_at = {row.url: row.disabled_at for row in rows}
    if new.url in disabled_at:
        raise Conflict(TAKEN if disabled_at[new.url] is None else DISABLED)
    if len(disabled_at) >= MOST_WEBHOOKS:
        raise Conflict(f"This tenant already has {MOST_WEBHOOKS} webhooks, the maximum.")
    newest = sql.scalar(select(AuditHead.seq).where(AuditHead.stream == who.tenant))
    values = {"id": new.id, "tenant": who.tenant, "url": new.url, "secret": new.secret, "seen_seq": newest}
    sql.execute(insert(table_of(Webhook)), [values | {"failures": 0, "tried_at": now, "created_at": now}])
    _record(sql, who, "webhook_made", new.id, now, host=urlsplit(new.url).hostname)
    return webhook_queries.get_webhook(sql, who.tenant, new.id)


def forget_deliveries(sql: Sql, who: Principal, webhook_id: str, now: datetime) -> int:
    """Disable a webhook that is to be deleted, and delete up to `STEP` of its deliveries; returns their number.

    Raises:
        WebhookNotFound: unknown, or of another tenant.
    """
    if _lock(sql, who, webhook_id).disabled_at is None:
        sql.execute(update(Webhook).where(Webhook.id == webhook_id).values(disabled_at=now))
    some = select(Delivery.id).where(Delivery.webhook_id == webhook_id).limit(STEP).cte("some")
    gone = delete(Delivery).where(Delivery.id.in_(select(some.c.id))).returning(Delivery.id)
    return len(sql.execute(gone).all())


def delete_webhook(sql: Sql, who: Principal, webhook_id: str, now: datetime) -> None:
    """Delete a webhook, with the deliveries that `forget_deliveries` left.

    Raises:
        WebhookNotFound: unknown, or of another tenant.
    """
    _lock(sql, who, webhook_id)
    sql.execute(delete(Delivery).where(Delivery.webhook_id == webhook_id))
    sql.execute(delete(Webhook).where(Webhook.id == webhook_id))
    _record(sql, who, "webhook_deleted", webhook_id, now)


def rotate(sql: Sql, who: Principal, webhook_id: str, secret: str, now: datetime) -> webhook_wire.Webhook:
    """Rotate the secret of a webhook; the previous one signs too for `OLD_SECRET_LIFE`, an older one no longer.

    Raises:
        WebhookNotFound: unknown, or of another tenant.
    """
    row = _lock(sql, who, webhook_id)
    until = now + OLD_SECRET_LIFE
    changed = update(Webhook).where(Webhook.id == webhook_id)
    sql.execute(changed.values(secret=secret, old_secret=row.secret, old_secret_until=until))
    _record(sql, who, "webhook_rotated", webhook_id, now)
    return webhook_queries.get_webhook(sql, who.tenant, webhook_id)


def ping(sql: Sql, who: Principal, webhook_id: str, delivery_id: str, now: datetime) -> webhook_wire.Delivery:
    """Make a test delivery without an event, which is tried once.

    Raises:
        WebhookNotFound: unknown, or of another tenant.
        Conflict: the webhook is disabled.
    """
    _check_enabled(_lock(sql, who, webhook_id))
    values = {
        "id": delivery_id,
        "webhook_id": webhook_id,
        "type": "ping",
        "happened_at": now,
        "state": DeliveryState.PENDING,
        "attempt": 0,
        "max_attempts": 1,
        "due_at": now - WAITS_AT_MOST,
        "log": [],
    }  # fmt: skip  due since long ago, so that it is sent before all pending ones
    sql.execute(insert(table_of(Delivery)), [values])
    _wake(sql, webhook_id, now)
    return webhook_queries.get_delivery(sql, webhook_id, delivery_id)


def replay(sql: Sql, who: Principal, webhook_id: str, delivery_id: str, now: datetime) -> webhook_wire.Delivery:
    """Send one delivery again, in whichever state it is: it is due now, behind those that are due already.

    Raises:
        WebhookNotFound, DeliveryNotFound: unknown, or of another tenant.
        Conflict: the webhook is disabled, or the delivery is being sent now.
    """
    _check_enabled(_lock(sql, who, webhook_id))
    is_delivery = (Delivery.webhook_id == webhook_id) & (Delivery.id == delivery_id)
    row = sql.execute(select(Delivery.lease_until, Delivery.job_id).where(is_delivery).with_for_update()).first()
    if row is None:
        raise DeliveryNotFound(webhook_queries.NO_DELIVERY)
    if row.lease_until is not None and row.lease_until > now:
        raise Conflict("This delivery is being sent right now.")
    tries = 1 if row.job_id is None else TRIES  # a ping is tried once
    sql.execute(update(Delivery).where(is_delivery).values(**_again(now, tries)))
    _wake(sql, webhook_id, now)
    return webhook_queries.get_delivery(sql, webhook_id, delivery_id)


def replay_failed(sql: Sql, who: Principal, webhook_id: str, since: datetime, now: datetime) -> int:
    """Send failed deliveries of events since then again, up to `STEP`; returns their number.

    Raises:
        WebhookNotFound: unknown, or of another tenant.
        Conflict: the webhook is disabled.
    """
    _check_enabled(_lock(sql, who, webhook_id))
    failed = (Delivery.webhook_id == webhook_id) & (Delivery.state == DeliveryState.FAILED)
    of_jobs = failed & (Delivery.happened_at >= since) & Delivery.job_id.is_not(None)
    some = select(Delivery.id).where(of_jobs).limit(STEP).cte("some")
    again = (
        update(Delivery).where(Delivery.id.in_(select(some.c.id))).values(**_again(now, TRIES)).returning(Delivery.id)
    )
    _wake(sql, webhook_id, now)
    return len(sql.execute(again).all())


def _wake(sql: Sql, webhook_id: str, now: datetime) -> None:
    """End the webhook's pause after failures, so that it is tried now."""
    before_any_pause = now - max(rest for _, rest in RESTS)
    sql.execute(update(Webhook).where(Webhook.id == webhook_id).values(tried_at=before_any_pause))


def _again(now: datetime, tries: int) -> dict[str, object]:
    """Return the columns that give a delivery `tries` more tries, the first of them now."""
    return {
        "state": DeliveryState.PENDING, "max_attempts": Delivery.attempt + tries, "due_at": now, "ended_at": None,
        "lease_until": None,
    }  # fmt: skip


def _lock(sql: Sql, who: Principal, webhook_id: str) -> Row[str, datetime | None]:
    is_webhook = (Webhook.id == webhook_id) & (Webhook.tenant == who.tenant)
    row = sql.execute(select(Webhook.secret, Webhook.disabled_at).where(is_webhook).with_for_update()).first()
    if row is None:
        raise webhook_queries.missing()
    return row


def _check_enabled(row: Row[str, datetime | None]) -> None:
    if row.disabled_at is not None:
        raise Conflict("This webhook is disabled: it answered 410, or is being removed. Remove it and add a new one.")


def _record(sql: Sql, who: Principal, action: str, webhook_id: str, now: datetime, **facts: object) -> None:
    """Append an audit event, never with the whole address: it may contain a password that the chain would keep."""
    audit.append(sql, who.tenant, [audit.Event(f"key:{who.key_id}", action, webhook_id, facts)], now)
