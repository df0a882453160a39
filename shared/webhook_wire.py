"""The JSON of webhooks as pydantic models: what the API answers of them, and what receivers are sent."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from shared.domain import DeliveryState, JobState
from shared.wire import ID_PATTERN, Id, Moment, Wire

MOST_URL_CHARACTERS: Final = 2000

JobEventType = Literal["job.succeeded", "job.failed", "job.cancelled", "job.expired"]


DeliveryType = Literal["job.succeeded", "job.failed", "job.cancelled", "job.expired", "ping"]


class EndedJob(Wire):
    """Which job has ended, and how. What was found is asked for at `/api/v1/jobs/<id>`, with a key."""

    id: Id = Field(description="the job's id")
    status: JobState
    batch_id: Id | None = Field(description="the batch it was sent in")


class JobEnded(Wire):
    """What a receiver is sent when a job has ended: thin, without film, names or verdict."""

    type: JobEventType
    timestamp: datetime = Field(description="when it ended; sent again, it is the same")
    data: EndedJob


class Ping(Wire):
    """What a receiver is sent when an admin tries a webhook."""

    type: Literal["ping"] = "ping"
    timestamp: datetime
    data: dict[str, str] = Field(default={}, max_length=0, description="no more is told")


def _is_of_the_web(value: object) -> object:
    if isinstance(value, str) and not value.startswith(("http://", "https://")):
        raise PydanticCustomError("not_of_the_web", "It must begin with https://, such as https://ris.example/films")
    return value


class WebhookRequest(BaseModel):
    """Where the ends of jobs are told."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[
        str,
        Field(max_length=MOST_URL_CHARACTERS, pattern="^https?://", examples=["https://ris.example/x"]),
        BeforeValidator(_is_of_the_web),
    ]


class Webhook(Wire):
    """An address that the ends of a tenant's jobs are told to."""

    id: Id = Field(description="UUID version 7")
    url: str
    created_at: datetime
    disabled_at: datetime | None = Field(
        description="since when nothing is sent: the receiver answered 410, or it is being removed"
    )
    failures: int = Field(ge=0, description="attempts that failed since the last one that did not")
    old_secret_until: datetime | None = Field(description="until then the secret before this one signs too")


class WebhookSecret(Webhook):
    """The same with its secret, which is shown this once."""

    secret: str = Field(description="signs what is sent, by Standard Webhooks", pattern="^whsec_")


class WebhookList(Wire):
    """All webhooks of the tenant, the oldest first."""

    webhooks: list[Webhook]


class Attempt(Wire):
    """One try at a delivery."""

    at: datetime
    status: int | None = Field(description="what the receiver answered; null: it did not")
    error: str | None = Field(description="why there was no answer", examples=["timed_out"])
    duration_ms: int = Field(ge=0)


class Delivery(Wire):
    """One event and one webhook, with each try so far."""

    id: Id = Field(description="the receiver's `webhook-id`: the same at each try")
    type: DeliveryType
    job_id: Id | None
    status: DeliveryState
    happened_at: datetime
    attempts: list[Attempt] = Field(description="the newest last")
    next_attempt_at: datetime | None = Field(description="null where none is to come")
    ended_at: datetime | None


class DeliveryList(Wire):
    """One page of deliveries, newest first."""

    deliveries: list[Delivery]
    next_cursor: str | None = Field(description="pass as `cursor` for the next page; null on the last one")


class DeliveryQuery(BaseModel):
    """Which deliveries of a webhook."""

    model_config = ConfigDict(extra="forbid")

    status: DeliveryState | None = None
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, pattern=ID_PATTERN, description="`next_cursor` of the page before")


class ReplayRequest(BaseModel):
    """Which failed deliveries are sent again."""

    model_config = ConfigDict(extra="forbid")

    since: Moment = Field(description="those of events from then on; ISO 8601 with its zone")


class Replayed(Wire):
    """How many are sent again."""

    deliveries: int = Field(ge=0)
