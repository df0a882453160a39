"""The terms of the domain as frozen values: job states, films, scores, verdicts. No effects, no I/O.

Imported by everything; imports nothing. `TRANSITIONS` is the state machine that `shared/db/jobs.py` enforces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from uuid import UUID

if TYPE_CHECKING:
    from shared.arrays import FloatArray, Pixels

DEFAULT_TENANT: Final = "default"


class JobState(StrEnum):
    """Where a job is. One whose answer is stored already begins as succeeded, with attempt 0.

    ::

        queued ──claim──► running ──finish──► succeeded
          ▲  │              │ │ └──fail─────► failed
          │  │              │ └──cancel─────► cancelled
          │  ├──cancel──────┼───────────────► cancelled
          │  └──expire──────┼───────────────► expired
          └─────requeue─────┘   (lease over, or a transient error; attempt + 1 at the next claim)
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """True when no step leads out of this state."""
        return not TRANSITIONS[self]


TRANSITIONS: Final[Mapping[JobState, frozenset[JobState]]] = MappingProxyType(
    {
        JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED, JobState.EXPIRED}),
        JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.QUEUED}),
        JobState.SUCCEEDED: frozenset(),
        JobState.FAILED: frozenset(),
        JobState.CANCELLED: frozenset(),
        JobState.EXPIRED: frozenset(),
    }
)


STATE_AFTER: Final[Mapping[str, JobState]] = MappingProxyType(
    {
        "accepted": JobState.QUEUED,
        "claimed": JobState.RUNNING,
        "requeued": JobState.QUEUED,
        "succeeded": JobState.SUCCEEDED,
        "failed": JobState.FAILED,
        "cancelled": JobState.CANCELLED,
        "expired": JobState.EXPIRED,
    }
)
"""Each audit action that changes a job's state, and the state after it."""


def made_at(job_id: str) -> datetime:
    """Return when a job id was made: the first 48 bits of a UUID version 7 are the Unix time in milliseconds."""
    return datetime.fromtimestamp((UUID(job_id).int >> 80) / 1000, UTC)


def first_id_at(moment: datetime) -> str:
    """Return the smallest job id that may have been made at `moment`: ids sort by time."""
    return str(UUID(int=max(0, int(moment.timestamp() * 1000)) << 80))


class AgainReason(StrEnum):
    """Why a stored film is classified again: its newest job came to this end, or another model answered it."""

    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    OTHER_MODEL = "other-model"


class Priority(StrEnum):
    """How urgent a job is; the table stores its rank, JSON its word."""

    STAT = "stat"
    ROUTINE = "routine"
    BULK = "bulk"

    @property
    def rank(self) -> int:
        """0 for stat, 1 for routine, 2 for bulk."""
        return list(Priority).index(self)

    @classmethod
    def of_rank(cls, rank: int) -> Priority:
        """Return the priority of a rank, the inverse of `rank`."""
        return list(cls)[rank]


EXPLAIN_QUEUE: Final = "explain"
"""The queue of explanations, beside one for each priority; heartbeats of workers that compute explanations name it."""


class ExplanationMethod(StrEnum):
    """How a map can be made."""

    GRAD_CAM = "grad_cam"
    GRAD_CAM_PLUS_PLUS = "grad_cam_plus_plus"
    SMOOTH_GRAD = "smooth_grad"
    INTEGRATED_GRADIENTS = "integrated_gradients"
    GRADIENT = "gradient"


PIXEL_METHODS: Final = frozenset(
    {ExplanationMethod.SMOOTH_GRAD, ExplanationMethod.INTEGRATED_GRADIENTS, ExplanationMethod.GRADIENT}
)
"""Methods whose map has the input's size, with a few pixels far above all others; other maps are small and smooth."""


class ExplanationState(StrEnum):
    """Where a requested explanation is.

    ::

        queued ──claim──► running ──finish──► succeeded
          ▲  ▲              │ └─────fail────► failed
          │  └───requeue────┘                   │
          └──────────────ask again──────────────┘
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_terminal(self) -> bool:
        """True once nothing is computed any more, whether it succeeded or failed."""
        return self in {ExplanationState.SUCCEEDED, ExplanationState.FAILED}


class DeliveryState(StrEnum):
    """Where the telling of one event to one webhook is; a failed one is kept, and may be sent again."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Role(StrEnum):
    """The role of a key; the rights of each role are in `shared/rights.py`."""

    ADMIN = "admin"
    UPLOADER = "uploader"
    REVIEWER = "reviewer"
    AUDITOR = "auditor"


class Verdict(StrEnum):
    """What the reader is told; the first three are the labels of the study."""

    COVID19 = "covid19"
    NORMAL = "normal"
    VIRAL_PNEUMONIA = "viral_pneumonia"
    UNCERTAIN = "uncertain"
    NOT_ASSESSABLE = "not_assessable"


ABSTENTIONS: Final = frozenset({Verdict.UNCERTAIN, Verdict.NOT_ASSESSABLE})
"""Verdicts that name no label."""


class ReaderLabel(StrEnum):
    """What a reader sees in a film: a label of the study, a finding beside them, or that none can be told."""

    COVID19 = "covid19"
    NORMAL = "normal"
    VIRAL_PNEUMONIA = "viral_pneumonia"
    OTHER_FINDING = "other_finding"
    NOT_ASSESSABLE = "not_assessable"


BESIDE_LABELS: Final = frozenset({ReaderLabel.OTHER_FINDING, ReaderLabel.NOT_ASSESSABLE})
"""Labels that a reader may give any film, whatever the labels of its model."""


def agrees(verdict: Verdict, label: ReaderLabel) -> bool | None:
    """Whether a reader's label is the model's verdict; None for an abstention, which is neither right nor wrong."""
    return None if verdict in ABSTENTIONS else label.value == verdict.value


@dataclass(frozen=True, slots=True)
class FilmFacts:
    """The facts about a film besides its pixels.

    Attributes:
        kind: 'png', 'jpeg' or 'dicom', by content.
        mode: the source's colour mode as Pillow names it ('L', 'RGB', 'I;16', ...).
        bit_depth: 8 or 16, of the canonical pixels.
        width_px, height_px: after the EXIF orientation was applied.
        input_sha256: hex digest of the uploaded bytes.
        pixels_sha256: hex digest of the canonical pixels in C order.
    """

    kind: str
    mode: str
    bit_depth: int
    width_px: int
    height_px: int
    input_sha256: str
    pixels_sha256: str


@dataclass(frozen=True, slots=True)
class Film:
    """A decoded film: canonical grey `pixels`, (H, W) uint8 or uint16; its facts; the SHA-256 of its stored bytes."""

    pixels: Pixels
    facts: FilmFacts
    stored_sha256: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """The measurements of one film, before any threshold.

    Attributes:
        probabilities: (K,) float32, calibrated, over the model's labels; they sum to 1.
        other: probability in [0, 1] of a finding outside the labels; 0 where the model has no such output.
        film_distance: the input gate's log-odds that this is no frontal chest film.
        feature_distance: how far the film's features lie from those of the training films, >= 0.
        spread: standard deviation of the network input, which is in [0, 1].
        elongation: longer side over shorter side, >= 1.
        was_inverted: the film was shown inverted and has been turned back.
    """

    probabilities: FloatArray
    other: float
    film_distance: float
    feature_distance: float
    spread: float
    elongation: float
    was_inverted: bool


@dataclass(frozen=True, slots=True)
class Assessment:
    """The conclusion on one film.

    Attributes:
        verdict: one label, or an abstention.
        probabilities: label -> calibrated probability in [0, 1]; they sum to 1.
        prediction_set: labels that the calibrated set holds, most probable first.
        reasons: machine codes for an abstention or a caution, e.g. 'low_contrast'.
        other: calibrated probability of a finding outside the labels, in [0, 1]; None where the model has no such
            output. `probabilities` are of the labels among themselves.
    """

    verdict: Verdict
    probabilities: Mapping[str, float]
    prediction_set: tuple[str, ...]
    reasons: tuple[str, ...]
    other: float | None = None


@dataclass(frozen=True, slots=True)
class SaliencyMap:
    """One raw saliency map on the network's input, with the numbers that judge it.

    Attributes:
        method: e.g. 'grad_cam'.
        values: (h, w) float32, >= 0, largest value 1 unless degenerate.
        border_share: share of the map's mass in the outer 10 % of each side, in [0, 1].
        is_degenerate: constant, all zero or not finite: not to be shown as a picture.
    """

    method: str
    values: FloatArray
    border_share: float
    is_degenerate: bool
