"""Deliveries of webhooks: derived from the audit chain, claimed with a lease, noted with the receiver's answer.

Nothing here is on a job's path. Each webhook stores the number of the last event of its tenant's chain that was read
for it (`seen_seq`); numbers are assigned under the lock of the chain's head, so a lower one never appears later. The
deliveries and the new `seen_seq` are written in one transaction, so a crash loses no delivery and doubles none.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, bindparam, delete, exists, insert, literal, not_, or_, select, update
from sqlalchemy.orm import aliased

from shared.db import audit
from shared.db.engine import Sql
from shared.db.tables import AuditEvent, AuditHead, table_of
from shared.db.webhook_tables import Delivery, Webhook
from shared.domain import STATE_AFTER, DeliveryState

RETRY_AFTER_S: Final = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""The delay after each failed try, as Standard Webhooks 1.0 proposes."""

TRIES: Final = len(RETRY_AFTER_S) + 1

LEASE_S: Final = 60.0
"""A delivery whose dispatcher died is tried again after this; a try takes a quarter of it (`webhooks.post`)."""

LOOK_EVENTS: Final = 1000
"""Events of a chain that are read for a webhook in one transaction."""

AT_ONCE: Final = 4
"""Deliveries of one webhook that are sent at a time; one where the last try failed, so that a receiver that hangs
occupies one sender."""

TENANT_AT_ONCE: Final = 6
"""Deliveries of one tenant that a process sends at a time, of eight: its slow receivers leave some to the others."""

RESTS: Final = ((8, timedelta(minutes=1)), (30, timedelta(minutes=5)))
"""(failed tries in a row, pause between two tries of the webhook): a dead receiver's backlog delays others little."""

WAITS_AT_MOST: Final = timedelta(days=4)
"""A delivery that was due for this long without a try is given up: its webhook is slower than its events."""

KEPT: Final = timedelta(days=30)
"""The retention of an ended delivery, with its log."""

PURGE_STEP: Final = 500
"""Deliveries that one transaction fails or deletes at a time."""

NewId = Callable[[], str]
AnyRow = Row[*tuple[Any, ...]]  # Any: each column of its own type


@dataclass(frozen=True, slots=True)
class News:
    """Deliveries to be made for one webhook, of the events after `seen_seq` up to `upto_seq`; `rows` may be empty."""

    webhook_id: str
    seen_seq: int
    upto_seq: int
    rows: Sequence[dict[str, object]]


@dataclass(frozen=True, slots=True)
class DeliveryClaim:
    """A delivery that this dispatcher holds, with all fields needed to send it.

    Attributes:
        secrets: those that sign, the newest first.
        attempt: the token its note is fenced by.
        tries: the number of tries since it was made or replayed, this one included.
        now: when it was claimed, by the database's clock.
    """

    id: str
    webhook_id: str
    tenant: str
    url: str
    secrets: tuple[str, ...]
    type: str
    job_id: str | None
    batch_id: str | None
    happened_at: datetime
    attempt: int
    tries: int
    now: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a try: the receiver's HTTP status, or the error for which there is none."""

    status: int | None
    error: str | None
    duration_ms: int

    @property
    def is_taken(self) -> bool:
        """Whether the receiver accepted the delivery: any 2xx."""
        return self.status is not None and self.status // 100 == 2  # noqa: PLR2004  success

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants no further deliveries."""
        return self.status == 410  # noqa: PLR2004  gone


def find_news(sql: Sql) -> list[News]:
    """Return the deliveries to be made for each webhook that is behind its chain; a read.

    A webhook without new deliveries is included only after `LOOK_EVENTS` events, to move its `seen_seq` on.
    """
    return [news for row in sql.execute(_BEHIND).all() if (news := _look(sql, *row)) is not None]


def _look(sql: Sql, webhook_id: str, tenant: str, seen_seq: int, newest_seq: int) -> News | None:
    upto = min(newest_seq, seen_seq + LOOK_EVENTS)
    rows: list[dict[str, object]] = [
        {
            "seq": seq,
            "type": f"job.{action}",
            "job_id": job_id,
            "batch_id": json.loads(accepted)["facts"].get("batch_id"),
            "happened_at": datetime.fromisoformat(at),
        }
        for seq, job_id, action, at, accepted in sql.execute(_ENDS, {"of": tenant, "after": seen_seq, "upto": upto})
    ]
    return News(webhook_id, seen_seq, upto, rows) if rows or upto - seen_seq == LOOK_EVENTS else None


def keep(sql: Sql, news: News, now: datetime, new_id: NewId) -> int:
    """Insert the deliveries of `news` and move the webhook's `seen_seq` on.

    Returns:
        The number of deliveries; 0 also where another dispatcher came first, or the webhook is gone or disabled.
    """
    is_unmoved = (Webhook.id == news.webhook_id) & (Webhook.seen_seq == news.seen_seq) & Webhook.disabled_at.is_(None)
    moved = update(Webhook).where(is_unmoved).values(seen_seq=news.upto_seq).returning(Webhook.id)
    if sql.execute(moved).first() is None:
        return 0
    fixed = {
        "webhook_id": news.webhook_id, "state": DeliveryState.PENDING, "attempt": 0, "max_attempts": TRIES,
        "due_at": now, "log": [],
    }  # fmt: skip
    if news.rows:
        sql.execute(insert(table_of(Delivery)), [{"id": new_id(), **fixed, **row} for row in news.rows])
    return len(news.rows)


def has_due(sql: Sql, now: datetime) -> bool:
    """Return whether a webhook has a due delivery; a read, so that idle dispatchers never take a write lock."""
    ready = select(Webhook.id).where(*_is_ready(now)).limit(1)
    return sql.scalar(ready) is not None


def claim(
    sql: Sql, now: datetime, limit: int, in_hand: Mapping[str, int] = MappingProxyType({})
) -> list[DeliveryClaim]:
    """Lease up to `limit` due deliveries, of the least recently tried webhook first, of each up to `AT_ONCE`.

    Args:
        in_hand: by tenant, the number of deliveries that the caller is sending; with the new ones it is at most
            `TENANT_AT_ONCE`.
    """
    hooks = sql.execute(
        select(*_WEBHOOK_COLUMNS)
        .where(*_is_ready(now))
        .order_by(Webhook.tried_at, Webhook.id)
        .with_for_update(skip_locked=True, of=Webhook)
    ).all()
    _fail_abandoned(sql, now)
    being_sent = select(Delivery.webhook_id).where(Delivery.lease_until >= now)
    busy = Counter(sql.scalars(being_sent))  # counted here: with GROUP BY SQLite would scan all deliveries
    claims: list[DeliveryClaim] = []
    of_tenant = Counter(in_hand)
    for hook in hooks:
        allowed = (1 if hook.failures else AT_ONCE) - busy[hook.id]
        rows = _take(sql, hook.id, now, min(allowed, TENANT_AT_ONCE - of_tenant[hook.tenant], limit - len(claims)))
        of_tenant[hook.tenant] += len(rows)
        signing = [hook.secret, hook.old_secret] if hook.old_secret and hook.old_secret_until > now else [hook.secret]
        claims += [
            DeliveryClaim(
                row.id, hook.id, hook.tenant, hook.url, tuple(signing), row.type, row.job_id, row.batch_id,
                row.happened_at, row.attempt, row.attempt - max(0, row.max_attempts - TRIES), now,
            )
            for row in rows
        ]  # fmt: skip
    return claims


def _take(sql: Sql, webhook_id: str, now: datetime, limit: int) -> Sequence[AnyRow]:
    if limit <= 0:
        return []
    due = (
        select(Delivery.id)
        .where(Delivery.webhook_id == webhook_id, *_due(now))
        .order_by(Delivery.due_at, Delivery.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    until = now + timedelta(seconds=LEASE_S)
    sql.execute(update(Webhook).where(Webhook.id == webhook_id).values(tried_at=now))
    return sql.execute(
        update(Delivery)
        .where(Delivery.id.in_(select(due.c.id)))
        .values(attempt=Delivery.attempt + 1, lease_until=until)
        .returning(
            Delivery.id, Delivery.type, Delivery.job_id, Delivery.batch_id, Delivery.happened_at, Delivery.attempt,
            Delivery.max_attempts,
        )
    ).all()  # fmt: skip


def _fail_abandoned(sql: Sql, now: datetime) -> None:
    """Fail deliveries whose dispatcher died during the last try."""
    _fail(sql, select(Delivery.id).where(Delivery.lease_until < now, Delivery.attempt >= Delivery.max_attempts), now)


def _fail(sql: Sql, which: Select[str], now: datetime) -> int:
    """Fail up to `PURGE_STEP` of these deliveries and return their number; rows locked elsewhere are skipped."""
    some = which.limit(PURGE_STEP).with_for_update(skip_locked=True, of=Delivery).cte("some")
    over = update(Delivery).where(Delivery.id.in_(select(some.c.id))).returning(Delivery.id)
    return len(sql.execute(over.values(state=DeliveryState.FAILED, ended_at=now, lease_until=None)).all())


def note(sql: Sql, held: DeliveryClaim, answer: Answer, retry_in_s: float, now: datetime) -> DeliveryState | None:
    """Record the outcome of a try, and set the delivery's next state.

    Args:
        retry_in_s: the delay before the next try, where this one failed and tries are left.

    Returns:
        The new state; None where the delivery no longer belongs to this attempt: leased again, failed or deleted.
    """
    hook = sql.execute(select(Webhook.failures).where(Webhook.id == held.webhook_id).with_for_update()).first()
    fence = (Delivery.id == held.id) & (Delivery.attempt == held.attempt) & _IS_PENDING
    row = sql.execute(select(Delivery.log, Delivery.max_attempts).where(fence).with_for_update()).first()
    if hook is None or row is None:
        return None
    state = _state_after(answer, held.attempt, row.max_attempts)
    entry = {"at": audit.timestamp(held.now), "status": answer.status, "error": answer.error,
             "duration_ms": answer.duration_ms}  # fmt: skip
    due = {"due_at": now + timedelta(seconds=retry_in_s)} if state is DeliveryState.PENDING else {"ended_at": now}
    sql.execute(update(Delivery).where(fence).values(state=state, lease_until=None, log=[*row.log, entry], **due))
    failures = 0 if answer.is_taken else hook.failures + 1
    if failures != hook.failures:
        sql.execute(update(Webhook).where(Webhook.id == held.webhook_id).values(failures=failures))
    if answer.is_gone:
        _disable(sql, held, now)
    return state


def _state_after(answer: Answer, attempt: int, max_attempts: int) -> DeliveryState:
    if answer.is_taken:
        return DeliveryState.DELIVERED
    return DeliveryState.FAILED if answer.is_gone or attempt >= max_attempts else DeliveryState.PENDING


def _disable(sql: Sql, held: DeliveryClaim, now: datetime) -> None:
    """Disable the webhook. Fails the pending deliveries; those beyond one step are failed by later `purge` runs."""
    is_enabled = (Webhook.id == held.webhook_id) & Webhook.disabled_at.is_(None)
    disabled = update(Webhook).where(is_enabled).values(disabled_at=now).returning(Webhook.id)
    if sql.execute(disabled).first() is None:
        return
    _fail(sql, select(Delivery.id).where(Delivery.webhook_id == held.webhook_id, _IS_PENDING), now)
    audit.append(sql, held.tenant, [audit.Event("system", "webhook_disabled", held.webhook_id)], now)


def purge(sql: Sql, now: datetime) -> int:
    """Fail pending deliveries of disabled webhooks and overdue ones; delete those that ended longer ago than `KEPT`.

    Returns:
        The number of deliveries changed or deleted, at most `PURGE_STEP` of each kind.
    """
    pending = select(Delivery.id).join(Webhook, Webhook.id == Delivery.webhook_id).where(_IS_PENDING)
    changed = _fail(sql, pending.where(Webhook.disabled_at.is_not(None)), now)
    overdue = pending.where(Delivery.due_at < now - WAITS_AT_MOST, Delivery.job_id.is_not(None))
    changed += _fail(sql, overdue.where(_is_free(now)), now)
    old = (
        select(Delivery.id)
        .where(Delivery.ended_at < now - KEPT)
        .order_by(Delivery.ended_at)
        .limit(PURGE_STEP)
        .with_for_update(skip_locked=True)
        .cte("old")
    )
    gone = delete(Delivery).where(Delivery.id.in_(select(old.c.id))).returning(Delivery.id)
    return changed + len(sql.execute(gone).all())


def _due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return _IS_PENDING, Delivery.due_at <= now, _is_free(now)


def _is_free(now: datetime) -> ColumnElement[bool]:
    """Return the condition that no dispatcher holds the delivery."""
    return Delivery.lease_until.is_(None) | (Delivery.lease_until < now)


def _is_ready(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that a webhook is enabled, not in a pause after failures, and has a due delivery."""
    rests = [(Webhook.failures >= failures) & (Webhook.tried_at > now - rest) for failures, rest in RESTS]
    is_any_due = exists().where(Delivery.webhook_id == Webhook.id, *_due(now))
    return Webhook.disabled_at.is_(None), not_(or_(*rests)), is_any_due


_IS_PENDING: ColumnElement[bool] = Delivery.state == literal(DeliveryState.PENDING.value, literal_execute=True)
"""The value is a literal in the statement: with a parameter the planner may not use the partial index."""

_WEBHOOK_COLUMNS = (
    Webhook.id, Webhook.tenant, Webhook.url, Webhook.secret, Webhook.old_secret, Webhook.old_secret_until,
    Webhook.failures,
)  # fmt: skip

_BEHIND = (
    select(Webhook.id, Webhook.tenant, Webhook.seen_seq, AuditHead.seq)
    .join(AuditHead, AuditHead.stream == Webhook.tenant)
    .where(Webhook.disabled_at.is_(None), AuditHead.seq > Webhook.seen_seq)
)

_ACCEPTED = aliased(AuditEvent)

_ENDS = (
    select(AuditEvent.seq, AuditEvent.subject, AuditEvent.action, AuditEvent.at, _ACCEPTED.body)
    .join(_ACCEPTED, (_ACCEPTED.subject == AuditEvent.subject) & (_ACCEPTED.action == "accepted"))
    .where(
        AuditEvent.stream == bindparam("of"),
        AuditEvent.seq > bindparam("after"),
        AuditEvent.seq <= bindparam("upto"),
        AuditEvent.action.in_([action for action, state in STATE_AFTER.items() if state.is_terminal]),
    )
    .order_by(AuditEvent.seq)
)
"""Read from the chain alone, so that a job deleted since is delivered too; its batch stands in its 'accepted' event."""
