"""What the checker judges, and what it finds: events of clients, rows and audit trail of the database, faults."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.domain import JobState
from tests.chaos.history import Event
from tests.chaos.plan import Order

TERMINAL = frozenset(state.value for state in JobState if state.is_terminal)


class Kind(StrEnum):
    """What a fault is."""

    LOST = "lost"
    DOUBLED = "doubled"
    STALE = "stale"
    CHAIN = "chain"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken promise; `subject` is a job's id or a key."""

    kind: Kind
    subject: str
    why: str


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as the database has it in the end; `error_code` where it failed."""

    id: str
    key: str | None
    state: str
    attempt: int
    max_attempts: int = 3
    error_code: str | None = None


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A result; `is_own` is False where it is not the answer to its film."""

    job: str
    attempt: int
    is_own: bool = True


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An audit event: `at` in s since 1970, `attempt` where it names one."""

    seq: int
    at: float
    actor: str
    action: str
    subject: str
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is judged.

    Attributes:
        orders: what clients were to send.
        raised: why a client's thread ended before its time, one line each.
    """

    orders: Sequence[Order]
    events: Sequence[Event]
    jobs: Sequence[JobRow]
    results: Sequence[ResultRow]
    audit: Sequence[AuditRow]
    chain_break: str | None = None
    raised: Sequence[str] = ()


def trails_of(audit: Iterable[AuditRow]) -> Mapping[str, list[AuditRow]]:
    """The events of each subject, in the order of the chain."""
    trails: dict[str, list[AuditRow]] = defaultdict(list)
    for row in sorted(audit, key=lambda row: row.seq):
        trails[row.subject].append(row)
    return trails
