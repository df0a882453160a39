"""The JSON of the API as pydantic models: what `web/api` answers and what its OpenAPI document is made from."""

from __future__ import annotations

import functools
import re
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from shared.domain import ExplanationMethod, ExplanationState, JobState, Priority, ReaderLabel, Verdict
from shared.errors import AppError, all_errors

NOTICE: Literal["research use; not a medical device"] = "research use; not a medical device"


ID_PATTERN: Final = "^[0-9a-f-]{36}$"
"""The pattern of all our ids, UUIDs as text."""

Id = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
"""An id in an answer."""

GivenId = Annotated[
    str,
    Field(pattern=ID_PATTERN, json_schema_extra={"format": "uuid"}),
    BeforeValidator(lambda given: given.lower() if isinstance(given, str) else given),
]
"""An id in a request; some clients write UUIDs in upper case."""


class Wire(BaseModel):
    """Base of all answers: frozen. Unknown fields are ignored, so that a client can read answers of later builds."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", protected_namespaces=(), json_schema_serialization_defaults_required=True
    )


class Input(Wire):
    """The film as it was decoded."""

    sha256: str = Field(description="SHA-256 of the uploaded bytes", pattern="^[0-9a-f]{64}$")
    pixels_sha256: str = Field(description="SHA-256 of the canonical grey pixels", pattern="^[0-9a-f]{64}$")
    kind: str = Field(description="'png', 'jpeg' or 'dicom', by content", examples=["png"])
    width_px: int = Field(ge=1)
    height_px: int = Field(ge=1)
    bit_depth: int = Field(description="8 or 16")


class ModelRef(Wire):
    """Which model answered."""

    name: str = Field(examples=["plainfilm-default"])
    version: str
    sha256: str = Field(description="SHA-256 of its weights", pattern="^[0-9a-f]{64}$")
    preprocessing: str = Field(examples=["grey_window_v2"])


class Explanation(Wire):
    """A saliency map on the network's input: influence on the score, not where disease is."""

    method: str = Field(examples=["grad_cam"])
    href: str = Field(description="the heatmap as PNG")
    sha256: str = Field(description="SHA-256 of the raw map")
    border_share: float = Field(ge=0, le=1, description="share of the map's mass in the outer 10 % of each side")
    is_degenerate: bool = Field(description="constant or empty: carries no information, so no heatmap is drawn")


class Receipt(Wire):
    """The place of an event in the tenant's audit chain."""

    seq: int = Field(ge=1, description="its number")
    hash: str = Field(description="SHA-256 over this event and all earlier ones", pattern="^[0-9a-f]{64}$")


class Result(Wire):
    """What the model says of a film."""

    verdict: Verdict
    probabilities: dict[str, float] = Field(description="calibrated, among the labels only: they sum to 1")
    other_probability: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="calibrated probability of a finding outside the labels; null: not available for this result",
    )
    prediction_set: list[str] = Field(description="labels of the calibrated set, most probable first")
    reasons: list[str] = Field(description="codes: why there is no label, or cautions that accompany one")
    explanations: list[Explanation]
    device: str = Field(
        description="what computed it: kind, library, arithmetic", examples=["cpu/openvino-2026.4.1 int8"]
    )
    code_version: str = Field(
        description="of the worker that answered: the package version and, after +, an id of the code"
    )
    receipt: Receipt | None = Field(
        default=None,
        description="of the audit event that recorded the result: keep it elsewhere to check later that the chain "
        "still contains that event; null in lists",
    )
    notice: Literal["research use; not a medical device"] = NOTICE


class JobError(Wire):
    """Why a job, or an explanation of it, failed, with the fields of a problem."""

    code: str
    detail: str
    type: str = Field(default="", description="a URI that documents `code`")
    title: str = ""
    status: int = Field(default=500, ge=400, le=599, description="the HTTP status of this error")

    @classmethod
    def of(cls, code: str, detail: str) -> JobError:
        """Return the error with title and status of its class; a code without one (`poisoned`) is a fault of ours."""
        kind = _kind_of(code)
        return cls(code=code, detail=detail, type=f"/problems#{code}", title=kind.title, status=kind.status)


@functools.cache
def _kind_of(code: str) -> type[AppError]:
    return next((error for error in all_errors() if error.code == code), AppError)


class MapQuality(Wire):
    """The quality of a saliency map, measured by querying the network. It says nothing about disease."""

    deletion: list[float] = Field(
        description="the label's probability while 0, 1, ... sixteenths of the film are removed, most marked first"
    )
    insertion: list[float] = Field(description="likewise while these parts are shown and the rest is removed")
    deletion_auc: float = Field(ge=0, le=1, description="area under `deletion`: low where the map marks what matters")
    insertion_auc: float = Field(ge=0, le=1, description="area under `insertion`: high where it does")
    random_auc: float = Field(ge=0, le=1, description="mean area for blocks in several random orders")
    random_least: float | None = Field(
        ge=0,
        le=1,
        description="smallest area of these: a `deletion_auc` below it is better than random; null: not recorded",
    )
    random_most: float | None = Field(ge=0, le=1, description="largest: an `insertion_auc` above it is better")
    second_method: str = Field(description="the method that `agreement` is measured with")
    agreement: float | None = Field(
        ge=-1, le=1, description="Spearman correlation with that map; null: one map is constant"
    )
    stability: float | None = Field(ge=-1, le=1, description="Spearman correlation with maps of slightly noisy copies")


class ExplanationDetail(Wire):
    """One explanation of a job with its state: the map of the verdict, or one that was requested."""

    method: ExplanationMethod
    status: ExplanationState
    done: bool = Field(description="true once the computation has ended: poll until then")
    label: str = Field(description="the label explained: the result's most probable one", examples=["normal"])
    seed: int | None = Field(description="random seed; null for the map that came with the verdict")
    parameters: dict[str, float] | None = Field(description="parameters of the method; null until it has run")
    model_sha256: str = Field(description="SHA-256 of the weights that classified the film", pattern="^[0-9a-f]{64}$")
    attempt: int = Field(ge=0)
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    href: str = Field(description="the heatmap as PNG; with `.npy` the raw map, with `.json` this object")
    sha256: str | None = Field(description="SHA-256 of the raw map; null until there is one")
    border_share: float | None = Field(ge=0, le=1, description="share of the map's mass in the outer 10 % of each side")
    is_degenerate: bool | None = Field(description="constant or empty, so no heatmap is drawn")
    degenerate_reason: str | None = Field(description="why, where that is known")
    quality: MapQuality | None = Field(description="null until it has been measured")
    error: JobError | None = Field(description="why it failed; request it again to retry")


class ExplanationList(Wire):
    """The explanations of a job, one a method."""

    explanations: list[ExplanationDetail]
    notice: Literal["influence on the score, not where disease is"] = "influence on the score, not where disease is"


class ExplanationRequest(BaseModel):
    """What is asked for."""

    model_config = ConfigDict(extra="forbid")

    method: ExplanationMethod


class Review(Wire):
    """What a human reader sees in a classified film, recorded with the verdict visible."""

    label: ReaderLabel
    agrees: bool | None = Field(description="whether the verdict is the same label; null: the model abstained")
    verdict: Verdict = Field(description="the model's, which the reader saw")
    reader: str = Field(description="the id of the reader's key")
    model_sha256: str = Field(description="SHA-256 of the weights that gave the verdict", pattern="^[0-9a-f]{64}$")
    result_sha256: str = Field(description="hash of the audit event that recorded the result", pattern="^[0-9a-f]{64}$")
    created_at: datetime


class ReviewList(Wire):
    """The current reviews of a job, one per reader, oldest first."""

    reviews: list[Review]


class ReviewRequest(BaseModel):
    """What a reader says."""

    model_config = ConfigDict(extra="forbid")

    label: ReaderLabel


class FieldError(Wire):
    """What is wrong with one field of a request."""

    pointer: str = Field(
        description="in a JSON body, a JSON pointer as a fragment (`#/label`; `#`: all); else the parameter's name",
        examples=["#/label", "limit"],
    )
    detail: str


class Problem(Wire):
    """RFC 9457 problem details."""

    type: str = Field(description="a URI that documents `code`")
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    instance: str | None = None
    code: str = Field(description="stable; for programs")
    errors: list[FieldError] = Field(default=[], description="the errors of single fields, if any")
    request_id: str


class Links(Wire):
    """Where the parts of a job are."""

    self: str
    film: str
    page: str
    events: str
    explanations: str
    cancel: str = Field(description="to be sent a POST")
    audit: str = Field(default="", description="what happened to it, for its sender, admins and auditors")
    again: str = Field(default="", description="send a POST once the job has ended: classifies its film again")


class Job(Wire):
    """A request to classify one film."""

    id: Id = Field(description="UUID version 7")
    status: JobState
    done: bool = Field(description="true for every terminal status: poll until then, whatever the status is called")
    priority: Priority
    queue_position: int | None = Field(
        description="films ahead of it, approximately, at most 1000; null unless queued, and in lists"
    )
    eta_s: int | None = Field(
        default=None,
        ge=0,
        description="estimated seconds until the result, at the workers' present rate; null if unknown, and in lists",
    )
    attempt: int = Field(ge=0)
    cached: bool = Field(default=False, description="answered from the stored result of the same film and model")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    retain_until: datetime | None = Field(
        default=None, description="it is deleted soon after; null if it is kept permanently or has not ended"
    )
    batch_id: Id | None = Field(default=None, description="the batch it was sent in")
    input: Input
    model: ModelRef | None = Field(description="null until there is a result")
    result: Result | None
    error: JobError | None
    links: Links


class JobList(Wire):
    """One page of jobs, newest first."""

    jobs: list[Job]
    next_cursor: str | None = Field(description="pass as `cursor` for the next page; null on the last one")


class BatchLinks(Wire):
    """Where the parts of a batch are."""

    self: str
    jobs: str = Field(description="its jobs as a list, newest first")
    table: str = Field(description="its jobs as a table (CSV)")
    page: str
    submit: str = Field(description="where its films are sent to, one a request")
    cancel: str = Field(description="to be sent a POST: cancels all jobs of it that have not ended")


class Batch(Wire):
    """Films that were sent together; only those that were accepted are in it."""

    id: Id = Field(description="UUID version 7")
    done: bool = Field(description="no job in it waits or runs now; false again if another film is sent into it")
    total: int = Field(ge=0, description="jobs in it; those that were deleted are not counted any more")
    counts: dict[JobState, int] = Field(description="its jobs by status; every status is named")
    verdicts: dict[Verdict, int] = Field(description="its results by verdict; every verdict is named")
    created_at: datetime
    links: BatchLinks


class JobEvent(Wire):
    """A change of a job's state, as the stream of its events tells it."""

    seq: int = Field(ge=1, description="its number in the tenant's audit chain; the event's `id`")
    job_id: Id
    event: str = Field(description="what happened", examples=["claimed"])
    status: JobState = Field(description="the job's since then")
    done: bool = Field(description="true for the last event of a job")
    at: datetime


STARTS_WITH_A_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
YEARS: Final = range(2, 9999)
"""Times in these years stay within the range of `datetime` also after a change of time zone."""


def _is_written_out(value: object) -> object:
    """Refuse seconds since 1970, which pydantic would accept as well."""
    if isinstance(value, datetime) or (isinstance(value, str) and STARTS_WITH_A_DATE.match(value)):
        return value
    raise PydanticCustomError("not_written_out", "it must be a time with its zone, such as 2026-11-01T00:00:00Z")


def _can_be_reckoned_with(value: datetime) -> datetime:
    if value.year not in YEARS:
        raise ValueError(f"its year must be from {YEARS[0]} to {YEARS[-1]}")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_is_written_out), AfterValidator(_can_be_reckoned_with)]
"""A time in a request."""


class ExportQuery(BaseModel):
    """Which jobs of all."""

    model_config = ConfigDict(extra="forbid")

    status: JobState | None = None
    verdict: Verdict | None = None
    batch: GivenId | None = Field(default=None, description="jobs of this batch")
    reviewed: Literal["no"] | None = Field(default=None, description="jobs that were answered and nobody has reviewed")
    since: Moment | None = Field(default=None, description="jobs made then or later; ISO 8601 with its zone")
    until: Moment | None = Field(default=None, description="jobs made before then")


class ListQuery(ExportQuery):
    """The same, page by page."""

    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, pattern=ID_PATTERN, description="`next_cursor` of the page before")


class FilmSizeQuery(BaseModel):
    """How large a film's picture may be."""

    model_config = ConfigDict(extra="forbid")

    max_side: int | None = Field(default=None, ge=16, le=4096, description="longest side of the PNG in pixels")


class AgainQuery(BaseModel):
    """Parameters of a film that is classified again."""

    model_config = ConfigDict(extra="forbid")

    priority: Priority = Field(default=Priority.ROUTINE, description="how urgent; `routine` unless named")
    expires_in_s: int | None = Field(
        default=None,
        ge=1,
        le=30 * 86_400,
        description="the job expires if its film has not started, or has to be restarted, after this time",
    )


class SubmitQuery(AgainQuery):
    """Parameters of a submission."""

    batch: GivenId | None = Field(default=None, description="the batch that the film is sent in")
