"""Deliveries: what is told to which webhook. Derived from the audit chain, claimed with a lease, noted with an answer.

Nothing here is on a job's path. Each webhook remembers up to which number of its tenant's audit chain was looked at for
it; numbers are given under the lock of the chain's head, so none appears after a higher one was seen. What is found
and how far was looked are written in one transaction, so a crash loses no delivery and doubles none.
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
"""After each try that failed, as Standard Webhooks 1.0 proposes."""

TRIES: Final = len(RETRY_AFTER_S) + 1

LEASE_S: Final = 60.0
"""A delivery whose dispatcher went silent is tried again after this; a try takes a quarter of it (`webhooks.post`)."""

LOOK_EVENTS: Final = 1000
"""Events of the chain that are looked at in one transaction."""

AT_ONCE: Final = 4
"""Deliveries of one webhook that are sent at a time; one where the last try failed: who hangs takes one sender."""

TENANT_AT_ONCE: Final = 6
"""Deliveries of one tenant that a process sends at a time, of eight: its slow receivers leave some to the others."""

RESTS: Final = ((8, timedelta(minutes=1)), (30, timedelta(minutes=5)))
"""Between two tries of a webhook, after so many that failed: a dead receiver's backlog costs others little."""

WAITS_AT_MOST: Final = timedelta(days=4)
"""A delivery that was due for so long without a try is given up: its webhook takes less than happens."""

KEPT: Final = timedelta(days=30)
"""How long a delivery that ended is kept, with its log."""

PURGE_STEP: Final = 500

NewId = Callable[[], str]
AnyRow = Row[*tuple[Any, ...]]  # Any: each column of its own type


@dataclass(frozen=True, slots=True)
class News:
    """What one webhook is to be told: events after `seen_seq`, up to `upto_seq`."""

    webhook_id: str
    seen_seq: int
    upto_seq: int
    rows: Sequence[dict[str, object]]


@dataclass(frozen=True, slots=True)
class DeliveryClaim:
    """A delivery that this dispatcher holds, and all that it takes to send it.

    Attributes:
        secrets: those that sign, the newest first.
        attempt: the token its note is fenced by.
        tries: how often it was tried since it was last begun, this time included.
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
    """What came of a try: the receiver's status, or why there is none."""

    status: int | None
    error: str | None
    duration_ms: int

    @property
    def is_taken(self) -> bool:
        """The receiver has it: 2xx and nothing else."""
        return self.status is not None and self.status // 100 == 2  # noqa: PLR2004  success

    @property
    def is_gone(self) -> bool:
        """The receiver wants no more."""
        return self.status == 410  # noqa: PLR2004  gone


def find_news(sql: Sql) -> list[News]:
    """What each webhook has not been told of; a read. Without events it comes only once much was looked at in vain."""
    return [found for row in sql.execute(_BEHIND).all() if (found := _look(sql, *row)) is not None]


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
    """Make the deliveries of `news`; how many: 0 too where another dispatcher came first, or the webhook is gone."""
    theirs = (Webhook.id == news.webhook_id) & (Webhook.seen_seq == news.seen_seq) & Webhook.disabled_at.is_(None)
    moved = update(Webhook).where(theirs).values(seen_seq=news.upto_seq).returning(Webhook.id)
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
    """A read, so that idle dispatchers never take a write lock."""
    found = select(Webhook.id).where(*_is_its_turn(now)).limit(1)
    return sql.scalar(found) is not None


def claim(sql: Sql, now: datetime, room: int, in_hand: Mapping[str, int] = MappingProxyType({})) -> list[DeliveryClaim]:
    """Take up to `room` due deliveries, each with a lease: of the webhooks in turn, of each so many at a time.

    Args:
        in_hand: by tenant, deliveries that the caller is sending: of one tenant it is given `TENANT_AT_ONCE` at most.
    """
    turns = sql.execute(
        select(*_OF_A_WEBHOOK)
        .where(*_is_its_turn(now))
        .order_by(Webhook.tried_at, Webhook.id)
        .with_for_update(skip_locked=True, of=Webhook)
    ).all()
    _give_up(sql, now)
    being_sent = select(Delivery.webhook_id).where(Delivery.lease_until >= now)
    busy = Counter(sql.scalars(being_sent))  # counted here: grouped by SQLite, all deliveries would be gone through
    claims: list[DeliveryClaim] = []
    of_tenant = Counter(in_hand)
    for hook in turns:
        allowed = (1 if hook.failures else AT_ONCE) - busy[hook.id]
        rows = _take(sql, hook.id, now, min(allowed, TENANT_AT_ONCE - of_tenant[hook.tenant], room - len(claims)))
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


def _give_up(sql: Sql, now: datetime) -> None:
    """The last try of these ended with its dispatcher."""
    _fail(sql, select(Delivery.id).where(Delivery.lease_until < now, Delivery.attempt >= Delivery.max_attempts), now)


def _fail(sql: Sql, which: Select[str], now: datetime) -> int:
    """Give these up; how many. What another transaction holds is left to the next time."""
    some = which.limit(PURGE_STEP).with_for_update(skip_locked=True, of=Delivery).cte("some")
    over = update(Delivery).where(Delivery.id.in_(select(some.c.id))).returning(Delivery.id)
    return len(sql.execute(over.values(state=DeliveryState.FAILED, ended_at=now, lease_until=None)).all())


def note(sql: Sql, held: DeliveryClaim, answer: Answer, retry_in_s: float, now: datetime) -> DeliveryState | None:
    """Write down what came of a try, and what follows from it.

    Args:
        retry_in_s: when to try again, where it failed and tries are left.

    Returns:
        Its state; None where it is no longer this attempt's: tried by another, given up or removed meanwhile.
    """
    hook = sql.execute(select(Webhook.failures).where(Webhook.id == held.webhook_id).with_for_update()).first()
    mine = (Delivery.id == held.id) & (Delivery.attempt == held.attempt) & _WAITS
    row = sql.execute(select(Delivery.log, Delivery.max_attempts).where(mine).with_for_update()).first()
    if hook is None or row is None:
        return None
    state = _state_after(answer, held.attempt, row.max_attempts)
    told = {"at": audit.timestamp(held.now), "status": answer.status, "error": answer.error,
            "duration_ms": answer.duration_ms}  # fmt: skip
    due = {"due_at": now + timedelta(seconds=retry_in_s)} if state is DeliveryState.PENDING else {"ended_at": now}
    sql.execute(update(Delivery).where(mine).values(state=state, lease_until=None, log=[*row.log, told], **due))
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
    """Nothing more is sent: what waits has failed, where it is much by and by (`purge`)."""
    mine = (Webhook.id == held.webhook_id) & Webhook.disabled_at.is_(None)
    disabled = update(Webhook).where(mine).values(disabled_at=now).returning(Webhook.id)
    if sql.execute(disabled).first() is None:
        return
    _fail(sql, select(Delivery.id).where(Delivery.webhook_id == held.webhook_id, _WAITS), now)
    audit.append(sql, held.tenant, [audit.Event("system", "webhook_disabled", held.webhook_id)], now)


def purge(sql: Sql, now: datetime) -> int:
    """Give up what nobody will take, remove what ended longer ago than `KEPT`, `PURGE_STEP` of each; how many."""
    waiting = select(Delivery.id).join(Webhook, Webhook.id == Delivery.webhook_id).where(_WAITS)
    changed = _fail(sql, waiting.where(Webhook.disabled_at.is_not(None)), now)
    of_jobs = waiting.where(Delivery.due_at < now - WAITS_AT_MOST, Delivery.job_id.is_not(None))
    changed += _fail(sql, of_jobs.where(_is_free(now)), now)
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
    return _WAITS, Delivery.due_at <= now, _is_free(now)


def _is_free(now: datetime) -> ColumnElement[bool]:
    """Nobody is sending it."""
    return Delivery.lease_until.is_(None) | (Delivery.lease_until < now)


def _is_its_turn(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Webhooks that are to be told something and do not rest."""
    rests = [(Webhook.failures >= failures) & (Webhook.tried_at > now - rest) for failures, rest in RESTS]
    is_any_due = exists().where(Delivery.webhook_id == Webhook.id, *_due(now))
    return Webhook.disabled_at.is_(None), not_(or_(*rests)), is_any_due


_WAITS: ColumnElement[bool] = Delivery.state == literal(DeliveryState.PENDING.value, literal_execute=True)
"""Written out in the statement, so that the index of what waits is taken whatever is known of its parameters."""

_OF_A_WEBHOOK = (
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
"""By the chain alone, so that a job which was deleted since is told as well: its batch is named by `accepted`."""
