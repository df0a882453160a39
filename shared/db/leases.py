"""The base of the changes of jobs and of explanations: leases, fences, and the events of one transaction.

A running row belongs to one attempt until its lease is over. Each write is fenced by the attempt, so a late write of a
worker whose lease was given to another changes no row. Called by `jobs` and `explanations`, which alone change a state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from sqlalchemy import CTE, ColumnElement, Connection, select, update
from sqlalchemy.orm import Session

from shared.db import audit
from shared.db.tables import Explanation, Job
from shared.errors import LeaseLost

QUEUED: Final = "queued"
RUNNING: Final = "running"
POISONED: Final = "poisoned"
"""The error code where all attempts ended without an answer."""

MOST_ATTEMPTS: Final = 30
"""The limit of attempts given back for faults of the service: for a film 12.5 minutes of pauses on average."""

NO_LEASE: Final[Mapping[str, None]] = MappingProxyType({"lease_owner": None, "lease_until": None})

AnySql = TypeVar("AnySql", Session, Connection)
Leased = type[Job] | type[Explanation]


@dataclass(frozen=True, slots=True)
class Claim:
    """A leased row; `attempt` is the token that fences the worker's writes. `request_id` is for the log."""

    id: str
    tenant: str
    attempt: int
    max_attempts: int
    blob_ref: str
    request_id: str


def most_attempts(held: Claim, *, is_ours: bool) -> int:
    """Return the number of attempts allowed after this one failed.

    A fault of the service (`is_ours`) gives the attempt back, up to `MOST_ATTEMPTS`.
    """
    is_given_back = is_ours and held.max_attempts < MOST_ATTEMPTS
    return held.max_attempts + 1 if is_given_back else held.max_attempts


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """The outcome of an attempt: the columns to write, and the facts that its audit event records."""

    columns: Mapping[str, object]
    audit_facts: Mapping[str, object]


class LeasedChanges(Generic[AnySql]):
    """Changes of one table's leased rows over one open transaction, at one database time.

    Attributes:
        table: the class whose rows are leased.
        job_id: the column of the row's job, the subject of its events.
        is_for_commit: True once only the COMMIT is left: if that fails, the changes may have been committed or not.
    """

    table: Leased
    job_id: ColumnElement[str]

    def __init__(self, sql: AnySql, now: datetime) -> None:
        self.sql: AnySql = sql
        self.now = now
        self.is_for_commit = False
        self._events: dict[str, list[audit.Event]] = defaultdict(list)

    def record(self, tenant: str, actor: str, action: str, job_id: str, **facts: object) -> None:
        """Record an audit event, to be chained at the end of this transaction."""
        self._events[tenant].append(audit.Event(actor, action, job_id, facts))

    def chain_events(self) -> None:
        """Append the recorded events, stream by stream in a fixed order; called once, last."""
        for tenant in sorted(self._events):
            audit.append(self.sql, tenant, self._events[tenant], self.now)
        self.is_for_commit = True

    def renew(self, claims: Sequence[Claim], lease_s: float) -> list[Claim]:
        """Extend leases and return the claims still held; the others were cancelled or belong to another attempt.

        Rows are locked by their ids' order, as `jobs.finish` locks them.
        """
        until = self.now + timedelta(seconds=lease_s)
        kept = {
            held.id
            for held in sorted(claims, key=attrgetter("id"))
            if self.change(self.fence(held), lease_until=until) is not None
        }
        return [held for held in claims if held.id in kept]

    def fence(self, held: Claim) -> ColumnElement[bool]:
        """Return the condition that the row belongs to this attempt."""
        table = self.table
        return (table.id == held.id) & (table.attempt == held.attempt) & (table.state == RUNNING)

    def change(self, condition: ColumnElement[bool], **values: object) -> str | None:
        """Set columns of the row that meets the condition; returns the id of its job, or None without such a row."""
        changed = update(self.table).where(condition).values(**values).returning(self.job_id)
        job_id: str | None = self.sql.execute(changed).scalar()
        return job_id

    def leave_running(self, held: Claim, **values: object) -> str:
        """End the lease with these columns set, `state` among them; returns the id of the row's job.

        Raises:
            LeaseLost: the row no longer belongs to this attempt.
        """
        job_id = self.change(self.fence(held), **NO_LEASE, **values)
        if job_id is None:
            raise LeaseLost("Another attempt has it now, or it was cancelled.", id=held.id, attempt=held.attempt)
        return job_id

    def lapsed(self) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        """Return the conditions of rows whose lease is over, since their worker died."""
        return self.table.state == RUNNING, self.table.lease_until < self.now

    def silent(self, silent_s: float, limit: int, *which: ColumnElement[bool]) -> CTE:
        """Select and lock the ids of up to `limit` due rows without a ring for `silent_s`, the longest unrung first."""
        table, before = self.table, self.now - timedelta(seconds=silent_s)
        return (
            select(table.id)
            .where(table.state == QUEUED, table.last_rung_at < before, table.not_before <= self.now, *which)
            .order_by(table.last_rung_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("silent")
        )
