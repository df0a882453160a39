"""The JSON of a job's audit trail: its events as they are chained, the oldest first."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from shared.wire import Id, Wire


class AuditEvent(Wire):
    """What happened to a job, and its place in the tenant's chain."""

    seq: int = Field(ge=1, description="its number in the chain; those between are of other jobs")
    at: datetime
    actor: str = Field(description="who did it", examples=["key:0123456789ab", "worker:host:17", "sweeper"])
    action: str = Field(examples=["accepted", "succeeded"])
    facts: dict[str, Any] = Field(description="by its action; digests rather than content")  # Any: JSON
    prev_hash: str = Field(description="hash of the event before it in the chain", pattern="^[0-9a-f]{64}$")
    hash: str = Field(
        description="SHA-256 of four lines: tenant, `seq`, `prev_hash`, and as RFC 8785 JSON `action`, `actor`, `at` "
        "(six decimals, Z), `facts` and `subject`, which is the job's id",
        pattern="^[0-9a-f]{64}$",
    )


class AuditTrail(Wire):
    """One page of a job's events, the oldest first."""

    job_id: Id
    tenant: str = Field(description="whose chain it is")
    events: list[AuditEvent]
    next_cursor: int | None = Field(description="pass as `cursor` for the next page; null on the last one")


class AuditQuery(BaseModel):
    """Which events of a job."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=200, ge=1, le=200)
    cursor: int = Field(default=0, ge=0, le=2**63 - 1, description="`next_cursor` of the page before")
