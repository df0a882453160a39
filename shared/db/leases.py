"""What the changes of jobs and those of explanations share: leases, fences, and the events of one transaction.

A running row belongs to one attempt, until its lease is over: whatever changes it names that attempt, so what a worker
that was given up writes later hits nothing. Called by `jobs` and `explanations`, which alone change a state.
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
"""Attempts after which even faults of the service's own count: for a film 12.5 minutes of pauses on average."""

NO_LEASE: Final[Mapping[str, None]] = MappingProxyType({"lease_owner": None, "lease_until": None})

AnySql = TypeVar("AnySql", Session, Connection)
Leased = type[Job] | type[Explanation]


@dataclass(frozen=True, slots=True)
class Claim:
    """A row that this worker holds; `attempt` is the token its writes are fenced by. `request_id` is for the log."""

    id: str
    tenant: str
    attempt: int
    max_attempts: int
    blob_ref: str
    request_id: str


def most_attempts(held: Claim, *, is_ours: bool) -> int:
    """How many attempts it may have: a fault of the service's own gives this one back, up to `MOST_ATTEMPTS`."""
    is_given_back = is_ours and held.max_attempts < MOST_ATTEMPTS
    return held.max_attempts + 1 if is_given_back else held.max_attempts


@dataclass(frozen=True, slots=True)
class Finding:
    """The columns of what an attempt found, and the facts its audit event records."""

    columns: Mapping[str, object]
    audit_facts: Mapping[str, object]


class LeasedChanges(Generic[AnySql]):
    """Changes of one table's leased rows over one open transaction, at one database time.

    Attributes:
        table: whose rows are leased.
        job_id: the column that names its job; events are recorded of that.
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
        """An audit event of this transaction."""
        self._events[tenant].append(audit.Event(actor, action, job_id, facts))

    def chain_events(self) -> None:
        """Append what was recorded, stream by stream in a fixed order; called once, last."""
        for tenant in sorted(self._events):
            audit.append(self.sql, tenant, self._events[tenant], self.now)
        self.is_for_commit = True

    def renew(self, claims: Sequence[Claim], lease_s: float) -> list[Claim]:
        """Extend the leases that are still ours; the others were cancelled or given to another attempt.

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
        """The row, as long as it is this attempt's."""
        table = self.table
        return (table.id == held.id) & (table.attempt == held.attempt) & (table.state == RUNNING)

    def change(self, condition: ColumnElement[bool], **values: object) -> str | None:
        """Set columns of the row that fits; returns its job's id, None where none does."""
        changed = update(self.table).where(condition).values(**values).returning(self.job_id)
        job_id: str | None = self.sql.execute(changed).scalar()
        return job_id

    def leave_running(self, held: Claim, **values: object) -> str:
        """Out of the lease, with these columns set; returns the job's id.

        Raises:
            LeaseLost: the row is no longer this attempt's.
        """
        job_id = self.change(self.fence(held), **NO_LEASE, **values)
        if job_id is None:
            raise LeaseLost("Another attempt has it now, or it was cancelled.", id=held.id, attempt=held.attempt)
        return job_id

    def lapsed(self) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        """The rows whose lease is over: their workers died."""
        return self.table.state == RUNNING, self.table.lease_until < self.now

    def silent(self, silent_s: float, limit: int, *which: ColumnElement[bool]) -> CTE:
        """Ids of at most `limit` due rows that had no ring for `silent_s`, the longest unrung first, locked."""
        table, before = self.table, self.now - timedelta(seconds=silent_s)
        return (
            select(table.id)
            .where(table.state == QUEUED, table.last_rung_at < before, table.not_before <= self.now, *which)
            .order_by(table.last_rung_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("silent")
        )
