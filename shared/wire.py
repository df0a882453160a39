"""The JSON of the API as pydantic models: what `web/api` answers and what its OpenAPI document is made from."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.domain import JobState, Priority, Verdict

NOTICE: Literal["research use; not a medical device"] = "research use; not a medical device"


class Wire(BaseModel):
    """Frozen, and no field beyond those named."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Input(Wire):
    """The film as it was decoded."""

    sha256: str = Field(description="SHA-256 of the uploaded bytes", pattern="^[0-9a-f]{64}$")
    pixels_sha256: str = Field(description="SHA-256 of the canonical grey pixels", pattern="^[0-9a-f]{64}$")
    kind: str = Field(description="'png' or 'jpeg', by content", examples=["png"])
    width_px: int = Field(ge=1)
    height_px: int = Field(ge=1)
    bit_depth: int = Field(description="8 or 16")


class ModelRef(Wire):
    """Which model answered."""

    name: str = Field(examples=["lite0"])
    version: str
    sha256: str = Field(description="SHA-256 of its weights", pattern="^[0-9a-f]{64}$")
    preprocessing: str = Field(examples=["grey_window_v1"])


class Explanation(Wire):
    """A saliency map on the network's input: influence on the score, not where disease is."""

    method: str = Field(examples=["grad_cam"])
    href: str = Field(description="the heatmap as PNG")
    sha256: str = Field(description="SHA-256 of the raw map")
    border_share: float = Field(ge=0, le=1, description="share of the map's mass in the outer 10 % of each side")
    is_degenerate: bool = Field(description="constant or empty: says nothing, and no heatmap is drawn")


class Result(Wire):
    """What the model says of a film."""

    verdict: Verdict
    probabilities: dict[str, float] = Field(description="calibrated; they sum to 1")
    prediction_set: list[str] = Field(description="labels of the calibrated set, most probable first")
    reasons: list[str] = Field(description="machine codes behind an abstention")
    explanations: list[Explanation]
    notice: Literal["research use; not a medical device"] = NOTICE


class Problem(Wire):
    """RFC 9457 problem details."""

    type: str = Field(description="a URI that documents `code`")
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    instance: str | None = None
    code: str = Field(description="stable; for programs")
    request_id: str


class JobError(Wire):
    """Why a job failed."""

    code: str
    detail: str


class Links(Wire):
    """Where the parts of a job are."""

    self: str
    film: str
    page: str


class Job(Wire):
    """A request to classify one film; the one object of the API."""

    id: str = Field(description="UUID version 7")
    status: JobState
    done: bool = Field(description="true for every terminal status: loop on this, not on a list of states")
    priority: Priority
    queue_position: int | None = Field(description="films ahead of it, approximately, at most 1000; null unless queued")
    attempt: int = Field(ge=0)
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    input: Input
    model: ModelRef | None = Field(description="null until there is a result")
    result: Result | None
    error: JobError | None
    links: Links


class JobList(Wire):
    """One page of jobs, newest first."""

    jobs: list[Job]
    next_cursor: str | None = Field(description="pass as `cursor` for the next page; null on the last one")


class ListQuery(BaseModel):
    """Parameters of the list."""

    model_config = ConfigDict(extra="forbid")

    status: JobState | None = None
    verdict: Verdict | None = None
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, pattern="^[0-9a-f-]{36}$", description="`next_cursor` of the page before")


class SubmitQuery(BaseModel):
    """Parameters of a submission."""

    model_config = ConfigDict(extra="forbid")

    priority: Priority = Priority.ROUTINE


class Readiness(Wire):
    """What the service needs, part by part."""

    ready: bool
    database: str
    schema_version: str
    broker: str
    workers: int = Field(ge=0, description="workers that polled the database within 15 seconds")
