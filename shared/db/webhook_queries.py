"""The read side of webhooks: webhooks and deliveries as the API shows them to admins, and counts for gauges."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Row, func, select

from shared import webhook_wire as wire
from shared.db.engine import Sql
from shared.db.webhook_tables import Delivery, Webhook
from shared.domain import DeliveryState
from shared.errors import DeliveryNotFound, WebhookNotFound

NO_DELIVERY: Final = "There is no delivery with this id."

AnyRow = Row[*tuple[Any, ...]]  # Any: each column of its own type


def missing() -> WebhookNotFound:
    """Return the error to raise where a tenant has no webhook of this id."""
    return WebhookNotFound("There is no webhook with this id.")


def list_webhooks(sql: Sql, tenant: str) -> wire.WebhookList:
    """Return all webhooks of a tenant, the oldest first."""
    rows = sql.execute(select(*_WEBHOOK_COLUMNS).where(Webhook.tenant == tenant).order_by(Webhook.id))
    return wire.WebhookList(webhooks=[_webhook(row) for row in rows])


def get_webhook(sql: Sql, tenant: str, webhook_id: str) -> wire.Webhook:
    """Return one webhook of a tenant.

    Raises:
        WebhookNotFound: unknown, or of another tenant.
    """
    row = sql.execute(select(*_WEBHOOK_COLUMNS).where(Webhook.id == webhook_id, Webhook.tenant == tenant)).first()
    if row is None:
        raise missing()
    return _webhook(row)


def list_deliveries(sql: Sql, tenant: str, webhook_id: str, query: wire.DeliveryQuery) -> wire.DeliveryList:
    """Return one page of a webhook's deliveries, newest first.

    Raises:
        WebhookNotFound: unknown, or of another tenant.
    """
    get_webhook(sql, tenant, webhook_id)
    statement = select(*_DELIVERY_COLUMNS).where(Delivery.webhook_id == webhook_id)
    if query.status:
        statement = statement.where(Delivery.state == query.status)
    if query.cursor:
        statement = statement.where(Delivery.id < query.cursor)
    rows = sql.execute(statement.order_by(Delivery.id.desc()).limit(query.limit + 1)).all()
    page = [_delivery(row) for row in rows[: query.limit]]
    return wire.DeliveryList(deliveries=page, next_cursor=page[-1].id if len(rows) > query.limit else None)


def get_delivery(sql: Sql, webhook_id: str, delivery_id: str) -> wire.Delivery:
    """Return one delivery. The caller has checked that the webhook is of its tenant.

    Raises:
        DeliveryNotFound: the webhook has no delivery of this id.
    """
    row = sql.execute(
        select(*_DELIVERY_COLUMNS).where(Delivery.webhook_id == webhook_id, Delivery.id == delivery_id)
    ).first()
    if row is None:
        raise DeliveryNotFound(NO_DELIVERY)
    return _delivery(row)


def count_deliveries(sql: Sql, state: DeliveryState) -> int:
    """Return the number of deliveries of all tenants in this state, counted through an index."""
    return sql.scalar(select(func.count()).select_from(Delivery).where(Delivery.state == state)) or 0


_WEBHOOK_COLUMNS = (
    Webhook.id, Webhook.url, Webhook.created_at, Webhook.disabled_at, Webhook.failures, Webhook.old_secret_until,
)  # fmt: skip

_DELIVERY_COLUMNS = (
    Delivery.id, Delivery.type, Delivery.job_id, Delivery.state, Delivery.happened_at, Delivery.log, Delivery.due_at,
    Delivery.ended_at,
)  # fmt: skip


def _webhook(row: AnyRow) -> wire.Webhook:
    return wire.Webhook.model_validate(row._mapping)  # noqa: SLF001  SQLAlchemy's public name for it


def _delivery(row: AnyRow) -> wire.Delivery:
    due_at = max(row.due_at, row.happened_at)  # a ping is due before all others, see `webhooks.ping`
    return wire.Delivery(
        id=row.id,
        type=row.type,
        job_id=row.job_id,
        status=DeliveryState(row.state),
        happened_at=row.happened_at,
        attempts=[wire.Attempt.model_validate(attempt) for attempt in row.log],
        next_attempt_at=due_at if row.state == DeliveryState.PENDING else None,
        ended_at=row.ended_at,
    )
