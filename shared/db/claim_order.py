"""The order in which due films are claimed. Reads and locks rows; changes none. Called by `jobs`.

Priority first, then tenants in turn, then first come first served. A claim with `aged_first` begins with films that
have waited too long at a lower priority, so that urgent films cannot starve the others; workers ask for it at every
fourth claim (`worker/stages.py`), so an urgent film waits for at most one more batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import groupby, zip_longest
from operator import attrgetter

from sqlalchemy import BindParameter, ColumnElement, Row, Select, bindparam, literal, or_, select, true, union_all

from shared.db.engine import Sql
from shared.db.tables import USES_LINE_INDEX, Job, Tenant
from shared.domain import JobState, Priority


@dataclass(frozen=True, slots=True)
class Claimant:
    """A worker that claims films: of which priorities, how many at most, and for how long.

    Attributes:
        aged_after_s: a film of a lower priority that waits longer than this has aged.
    """

    worker: str
    priorities: tuple[Priority, ...]
    limit: int
    lease_s: float
    aged_after_s: float = 600.0


@dataclass(frozen=True, slots=True)
class TenantQueue:
    """The due films of one tenant and one priority; the first of them has been due since `since`."""

    tenant: str
    rank: int
    since: datetime


Tier = Sequence[TenantQueue]
"""Queues that are served in turn, before any of the next tier: those of one priority, or a single aged one."""

QueuedFilm = Row[str, str, int]
"""(job id, tenant, attempt)."""


def pick(sql: Sql, who: Claimant, now: datetime, *, aged_first: bool = False) -> list[QueuedFilm]:
    """Lock and return the next films for `who`, up to its limit; rows locked by another claim are skipped.

    A film whose last attempt ended without an answer is returned alone, so that a film that kills its process takes no
    other film along.
    """
    tiers = _list_tiers(sql, who, now, aged_first=aged_first)
    for place, tier in enumerate(tiers):
        first_films = (sql.execute(_DUE, _parameters(queue, now, 1)).first() for queue in tier)
        leader = next((film for film in first_films if film is not None), None)
        if leader is not None:
            return [leader] if leader.attempt else _fill(sql, tiers[place:], who.limit, now)
    return []


def _list_tiers(sql: Sql, who: Claimant, now: datetime, *, aged_first: bool) -> list[Tier]:
    """Return the tiers in the order in which they are served: each priority; if asked for, aged queues before them."""
    queues = [TenantQueue(*row) for row in sql.execute(_select_queues(who.priorities), {"now": now})]
    tiers: list[Tier] = [list(tier) for _, tier in groupby(queues, key=attrgetter("rank"))]
    if not aged_first:
        return tiers
    before = now - timedelta(seconds=who.aged_after_s)
    aged = [queue for queue in queues if queue.rank and queue.since < before]
    return [*([queue] for queue in sorted(aged, key=attrgetter("since"))), *tiers]


def _fill(sql: Sql, tiers: Sequence[Tier], limit: int, now: datetime) -> list[QueuedFilm]:
    """Lock and return up to `limit` films that were never tried, tier by tier.

    Places that a tenant with few films leaves go to the others of its tier before the next tier is served.
    """
    films: dict[str, QueuedFilm] = {}
    for tier in tiers:
        tenants_with_more = list(tier)
        while tenants_with_more and (free := limit - len(films)):
            taken, tenants_with_more = _take_round(sql, tenants_with_more, now, free, list(films))
            films |= {film.id: film for film in taken}
    return list(films.values())


def _take_round(
    sql: Sql, tenants: Sequence[TenantQueue], now: datetime, free: int, taken_ids: Sequence[str]
) -> tuple[list[QueuedFilm], list[TenantQueue]]:
    """Take films for `free` places in one round over the tenants.

    Each tenant gets ceil(free / tenants) places; a tenant that returned a full share may have more. Where there are
    more tenants than places, the rest comes first in the next round.

    Returns:
        At most `free` films, one of each tenant in turn; the tenants of the next round, in order.
    """
    per_tenant = -(-free // len(tenants))
    served, waiting = tenants[:free], tenants[free:]
    shares = [_take(sql, queue, now, per_tenant, taken_ids) for queue in served]
    films = [film for turn in zip_longest(*shares) for film in turn if film is not None]
    with_more = [queue for queue, share in zip(served, shares, strict=True) if len(share) == per_tenant]
    return films[:free], [*waiting, *with_more]


def _take(sql: Sql, queue: TenantQueue, now: datetime, limit: int, taken_ids: Sequence[str]) -> Sequence[QueuedFilm]:
    """Lock and return up to `limit` films of one queue that were never tried and are not among `taken_ids`."""
    parameters = _parameters(queue, now, limit)
    if not taken_ids:
        return sql.execute(_FRESH, parameters).all()
    return sql.execute(_FRESH_UNSEEN, parameters | {"seen": taken_ids}).all()


def _parameters(queue: TenantQueue, now: datetime, limit: int) -> dict[str, object]:
    return {"tenant": queue.tenant, "rank": queue.rank, "now": now, "limit": limit}


# Statements with bound parameters, built once: building one takes longer than executing it, and each claim does.

_NOW: BindParameter[datetime] = bindparam("now")


@cache
def _select_queues(priorities: tuple[Priority, ...]) -> Select[str, int, datetime]:
    """Select the columns of each `TenantQueue`, by priority, then by least recently served, then by longest waiting.

    Tenants served in the same batch share served_at. Break the tie by waiting time; by name, the first tenant would
    always win and another's suspect film would starve.
    """
    ranks = union_all(*(select(literal(priority.rank).label("rank")) for priority in priorities)).subquery()
    is_in_queue = (Job.tenant == Tenant.id) & (Job.priority == ranks.c.rank)
    first = select(Job.not_before).where(is_in_queue, *_is_due()).order_by(Job.not_before).limit(1).scalar_subquery()
    pairs = select(Tenant.id, ranks.c.rank, first.label("since"), Tenant.served_at).join(ranks, true())
    queues = pairs.subquery()
    return (
        select(queues.c.id, queues.c.rank, queues.c.since)
        .where(queues.c.since.is_not(None))
        .order_by(queues.c.rank, queues.c.served_at.is_not(None), queues.c.served_at, queues.c.since, queues.c.id)
    )


def _is_due() -> tuple[ColumnElement[bool], ...]:
    in_time = Job.not_before <= _NOW, or_(Job.expires_at.is_(None), Job.expires_at > _NOW)
    return Job.state == JobState.QUEUED, USES_LINE_INDEX, *in_time


_DUE: Select[str, str, int] = (
    select(Job.id, Job.tenant, Job.attempt)
    .where(Job.tenant == bindparam("tenant"), Job.priority == bindparam("rank"), *_is_due())
    .order_by(Job.not_before, Job.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_FRESH = _DUE.where(Job.attempt == 0)
_FRESH_UNSEEN = _FRESH.where(Job.id.not_in(bindparam("seen", expanding=True)))
