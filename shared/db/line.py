"""Who is next: the order in which due films are claimed. Reads and locks rows; changes none. Called by `jobs`.

Class first, then tenants in turn, then first come first served. A claim that asks for the aged looks first at what has
waited too long in a less urgent class, so that enough urgent films cannot keep the others waiting for ever; workers
ask so at every fourth claim (`worker/stages.py`), so an urgent film waits for one more batch at the most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import groupby, zip_longest

from sqlalchemy import BindParameter, ColumnElement, Row, Select, bindparam, literal, or_, select, true, union_all

from shared.db.engine import Sql
from shared.db.tables import USES_LINE_INDEX, Job, Tenant
from shared.domain import JobState, Priority


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who claims, for which classes, how many at most and for how long.

    Attributes:
        aged_after_s: a film of a less urgent class that waits longer than this has aged.
    """

    worker: str
    priorities: tuple[Priority, ...]
    limit: int
    lease_s: float
    aged_after_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """The films of one tenant in one class that are due; the first of them has been since `since`."""

    tenant: str
    rank: int
    since: datetime


Group = Sequence[Waiting]
QueuedFilm = Row[str, str, int]
"""(job id, tenant, attempt)."""


def pick(sql: Sql, who: Claimant, now: datetime, *, aged_first: bool = False) -> list[QueuedFilm]:
    """Lock the next films for `who`, at most its limit; rows that another claim holds are passed over.

    A film whose last attempt ended without an answer comes alone, so that one which kills its process takes no
    neighbour along.
    """
    groups = _groups(sql, who, now, aged_first=aged_first)
    for place, group in enumerate(groups):
        leaders = (sql.execute(_DUE, _asked(found, now, 1)).first() for found in group)
        leader = next((leader for leader in leaders if leader is not None), None)
        if leader is not None:
            return [leader] if leader.attempt else _fill(sql, groups[place:], who.limit, now)
    return []


def _groups(sql: Sql, who: Claimant, now: datetime, *, aged_first: bool) -> list[Group]:
    """Who is served one after the other: the classes, each with its tenants in turn; before them the aged, if asked."""
    waiting = _waiting(sql, who, now)
    classes: list[Group] = [list(group) for _, group in groupby(waiting, key=lambda found: found.rank)]
    before = now - timedelta(seconds=who.aged_after_s)
    aged = sorted((found for found in waiting if found.rank and found.since < before), key=lambda found: found.since)
    return [*([found] for found in aged), *classes] if aged_first else classes


def _waiting(sql: Sql, who: Claimant, now: datetime) -> list[Waiting]:
    """Each tenant and class with due films, by class, then by who was served longest ago."""
    return [Waiting(*row) for row in sql.execute(_find_waiting(who.priorities), {"now": now})]


def _fill(sql: Sql, groups: Sequence[Group], limit: int, now: datetime) -> list[QueuedFilm]:
    """Up to `limit` films that were never tried, group by group; inside a group the places go round.

    What a tenant with few films leaves goes to the others of its group before the next group has a turn.
    """
    films: dict[str, QueuedFilm] = {}
    for group in groups:
        hungry = list(group)
        while hungry and (room := limit - len(films)):
            share = -(-room // len(hungry))
            seen = {"seen": list(films)} if films else {}
            fresh = _FRESH_UNSEEN if films else _FRESH
            queues = [sql.execute(fresh, _asked(found, now, share) | seen).all() for found in hungry[:room]]
            taken = [film for turn in zip_longest(*queues) for film in turn if film is not None]
            films |= {film.id: film for film in taken[:room]}
            has_more = (found for found, queue in zip(hungry, queues, strict=False) if len(queue) == share)
            hungry = [*hungry[room:], *has_more]
    return list(films.values())


def _asked(waiting: Waiting, now: datetime, limit: int) -> dict[str, object]:
    return {"tenant": waiting.tenant, "rank": waiting.rank, "now": now, "limit": limit}


# The statements are put together once: that takes longer than to ask them, and each claim does.

_NOW: BindParameter[datetime] = bindparam("now")


@cache
def _find_waiting(priorities: tuple[Priority, ...]) -> Select[str, int, datetime]:
    """Tenant, class and since when, by class, then by who was served longest ago, then by who waits longest.

    Tenants that share their batches were served at the same time: were it their names that go on, the first one's would
    hide a suspect of another for good.
    """
    ranks = union_all(*(select(literal(priority.rank).label("rank")) for priority in priorities)).subquery()
    theirs = (Job.tenant == Tenant.id) & (Job.priority == ranks.c.rank)
    first = select(Job.not_before).where(theirs, *_is_due()).order_by(Job.not_before).limit(1).scalar_subquery()
    pairs = select(Tenant.id, ranks.c.rank, first.label("since"), Tenant.served_at).join(ranks, true())
    found = pairs.subquery()
    return (
        select(found.c.id, found.c.rank, found.c.since)
        .where(found.c.since.is_not(None))
        .order_by(found.c.rank, found.c.served_at.is_not(None), found.c.served_at, found.c.since, found.c.id)
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
