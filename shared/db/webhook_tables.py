"""The tables of webhooks, beside those of `tables`."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    SmallInteger,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.tables import Base
from shared.webhook_wire import MOST_URL_CHARACTERS

PENDING = text("state = 'pending'")
FAILED = text("state = 'failed'")
LEASED = text("lease_until IS NOT NULL")


class Webhook(Base):
    """An address to which the ends of a tenant's jobs are sent.

    `seen_seq` is the number of the last audit event read for it; `failures` counts failed attempts in a row. The
    secrets sign deliveries, so they are not hashed.
    """

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    url: Mapped[str] = mapped_column(String(MOST_URL_CHARACTERS))
    secret: Mapped[str] = mapped_column(String(64))
    old_secret: Mapped[str | None] = mapped_column(String(64))
    old_secret_until: Mapped[datetime | None]
    seen_seq: Mapped[int] = mapped_column(BigInteger)
    failures: Mapped[int]
    tried_at: Mapped[datetime]
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("tenant", "url"),)


class Delivery(Base):
    """One event sent to one webhook; at most one each, by `seq`. Null `seq` and `job_id`: a ping.

    `attempt` is the fencing token, as of jobs. `log` has an entry for each try.
    """

    __tablename__ = "deliveries"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id"))
    seq: Mapped[int | None] = mapped_column(BigInteger)
    type: Mapped[str] = mapped_column(String(16))
    job_id: Mapped[str | None] = mapped_column(String(36))
    batch_id: Mapped[str | None] = mapped_column(String(36))
    happened_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(SmallInteger)
    max_attempts: Mapped[int] = mapped_column(SmallInteger)
    due_at: Mapped[datetime]
    lease_until: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    log: Mapped[list[dict[str, object]]] = mapped_column(JSON)

    __table_args__ = (
        UniqueConstraint("webhook_id", "seq"),
        CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="state"),
        CheckConstraint("(state = 'pending') = (ended_at IS NULL)", name="end"),
        CheckConstraint("state = 'pending' OR lease_until IS NULL", name="lease"),
        CheckConstraint("attempt >= 0 AND attempt <= max_attempts", name="attempt"),
        Index("ix_deliveries_webhook", "webhook_id", "id"),
        Index("ix_deliveries_due", "webhook_id", "due_at", sqlite_where=PENDING, postgresql_where=PENDING),
        Index("ix_deliveries_failed", "webhook_id", "happened_at", sqlite_where=FAILED, postgresql_where=FAILED),
        Index("ix_deliveries_leases", "lease_until", sqlite_where=LEASED, postgresql_where=LEASED),
        Index("ix_deliveries_ended_at", "ended_at"),
    )
