"""What the audit chain says of each job: its events folded into the state in which its rows have to be.

Reads `audit_events` alone, never the rows of jobs or results; `audit_comparison` holds the two against each other.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from shared.db.reviews import REVIEWED
from shared.db.tables import AuditEvent
from shared.domain import STATE_AFTER, ExplanationState

Facts = Mapping[str, Any]  # Any: JSON

EXPLANATION_STATE_AFTER: Final[Mapping[str, ExplanationState]] = MappingProxyType(
    {
        "explanation_requested": ExplanationState.QUEUED,
        "explanation_claimed": ExplanationState.RUNNING,
        "explained": ExplanationState.SUCCEEDED,
        "explanation_requeued": ExplanationState.QUEUED,
        "explanation_failed": ExplanationState.FAILED,
    }
)
"""The state in which each audit action leaves an explanation."""


@dataclass(slots=True)
class ExplanationHistory:
    """What the chain says of one explanation.

    Attributes:
        requested_by: the actor of the first event, 'key:<id>'.
        state: the state after the last event.
        facts: the facts of all events, merged by column name.
    """

    requested_by: str
    state: ExplanationState = ExplanationState.QUEUED
    facts: dict[str, Any] = field(default_factory=dict)

    def add(self, action: str, facts: Facts) -> None:
        """Apply the next event.

        For `explanation_requested` the first event's facts win, since the row keeps the original request; for other
        events the latest win.
        """
        self.state = EXPLANATION_STATE_AFTER[action]
        is_request = action == "explanation_requested"
        self.facts = {**facts, **self.facts} if is_request else {**self.facts, **facts}
        self.facts["error_code"] = facts["error_code"] if self.state is ExplanationState.FAILED else None


@dataclass(slots=True)
class JobHistory:
    """What the chain says of one job; empty for a job that it does not know.

    Attributes:
        facts: the facts of the last event of each action.
        state: the state after the last event that changed it.
        sent_by: the actor of 'accepted', 'key:<id>'.
        stream: the tenant in whose chain the job was accepted.
        result_event_hash: the hash of the event that recorded the result.
        reviews: the facts of each reader's last review, with its time as `at`; by actor, 'key:<id>'.
        explanations: by explanation id.
    """

    facts: dict[str, Facts] = field(default_factory=dict)
    state: str | None = None
    sent_by: str | None = None
    stream: str | None = None
    result_event_hash: str | None = None
    reviews: dict[str, Facts] = field(default_factory=dict)
    explanations: dict[str, ExplanationHistory] = field(default_factory=dict)

    def add(self, event: Row[str, str, str, str, str, str]) -> None:
        """Apply the next event, a row of `read_histories`."""
        body = json.loads(event.body)
        action, facts = event.action, body["facts"]
        self.facts[action] = facts
        self.state = STATE_AFTER.get(action, self.state)
        if action == "accepted":
            self.sent_by, self.stream = event.actor, event.stream
        elif action == "succeeded":
            self.result_event_hash = event.hash
        elif action == REVIEWED:
            self.reviews[event.actor] = {**facts, "at": body["at"]}
        elif action in EXPLANATION_STATE_AFTER:
            self.explanations.setdefault(facts["explanation"], ExplanationHistory(event.actor)).add(action, facts)


def read_histories(session: Session, job_ids: Sequence[str]) -> Mapping[str, JobHistory]:
    """Return the history of each of these jobs by id, in one statement; an id without events has an empty one."""
    histories: dict[str, JobHistory] = defaultdict(JobHistory)
    columns = (AuditEvent.stream, AuditEvent.subject, AuditEvent.actor, AuditEvent.action, AuditEvent.body)
    events = select(*columns, AuditEvent.hash).where(AuditEvent.subject.in_(job_ids))
    for event in session.execute(events.order_by(AuditEvent.stream, AuditEvent.seq)):
        histories[event.subject].add(event)
    return histories
