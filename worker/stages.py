"""The stages of a batch: take (claim and load), answer (infer and conclude), finish (store and notify).

A film that cannot be processed never fails the others of its batch. No transaction is open while the network computes.
Called by `worker/pipeline.py`.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count

from shared import faults, verdict
from shared.db import jobs
from shared.db.claim_order import Claimant
from shared.db.leases import AttemptRecord, Claim
from shared.domain import Assessment, SaliencyMap
from shared.errors import AppError, LeaseLost, ModelProblem, Unavailable
from shared.faults import Fault
from shared.imaging import preprocess, stored
from shared.imaging.preprocess import NetworkInput
from shared.log import get_logger
from shared.version import CODE_VERSION
from shared.wiring import Resources
from worker.availability import Availability
from worker.backoff import retry_delay_s
from worker.engine import quality
from worker.engine.base import Engine
from worker.engine.golden import build_name
from worker.lease import LeaseKeeper
from worker.rings import PendingRings

log = get_logger(__name__)

AGED_EVERY = 4
"""Every fourth claim begins with films that have waited too long at a lower priority."""

STORE_PAUSES_S = (0.1, 0.5, 1.0, 2.0, 4.0)
"""Between attempts to store a batch; one attempt follows the last pause."""


def _make_hands() -> ThreadPoolExecutor:
    """Return two threads: one claims and loads, the other stores."""
    return ThreadPoolExecutor(2, thread_name_prefix="hand")


@dataclass(frozen=True, slots=True)
class Kitchen:
    """The resources, engine and state that a worker processes batches with.

    Attributes:
        who: the name of the worker, and the limits of its claims.
        draw: draws the delays of retries.
        turns: counts the claims.
        hands: the threads that load and store beside the computation.
        rings: the rings still expected for claimed films.
        availability: what the worker last announced, busy or idle.
    """

    resources: Resources
    engine: Engine
    who: Claimant
    keeper: LeaseKeeper
    draw: random.Random = field(default_factory=random.Random)
    turns: Iterator[int] = field(default_factory=count)
    hands: ThreadPoolExecutor = field(default_factory=_make_hands)
    rings: PendingRings = field(default_factory=PendingRings)
    availability: Availability = field(init=False)

    def __post_init__(self) -> None:
        availability = Availability(self.resources.queue, self.who.worker, self.who.priorities)
        object.__setattr__(self, "availability", availability)  # frozen, and the announcements go to this queue


@dataclass(frozen=True, slots=True)
class Prepared:
    """A claimed film as a network input."""

    held: Claim
    film: NetworkInput


@dataclass(frozen=True, slots=True)
class Batch:
    """Claimed films, loaded or failed to load; their leases are renewed until `hold` is closed."""

    loaded: Sequence[Prepared | Failed]
    hold: ExitStack
    started: float

    @property
    def is_suspect(self) -> bool:
        """True for a film whose previous attempt ended without an answer; such a film is claimed alone."""
        return any(item.held.attempt > 1 for item in self.loaded)


@dataclass(frozen=True, slots=True)
class Concluded:
    """A film with its answer."""

    held: Claim
    assessment: Assessment
    saliency: SaliencyMap


@dataclass(frozen=True, slots=True)
class Failed:
    """A film without an answer.

    Attributes:
        is_permanent: the job fails; otherwise the film is retried.
        is_ours: the service is at fault, not the film.
    """

    held: Claim
    code: str
    detail: str
    is_permanent: bool
    is_ours: bool = False


Outcome = Concluded | Failed


@dataclass(frozen=True, slots=True)
class BatchReport:
    """The number of films claimed, and of those answered, failed (or retried) and lost to an expired lease."""

    claimed: int = 0
    succeeded: int = 0
    failed: int = 0
    lost: int = 0

    def __add__(self, other: BatchReport) -> BatchReport:
        return BatchReport(
            self.claimed + other.claimed,
            self.succeeded + other.succeeded,
            self.failed + other.failed,
            self.lost + other.lost,
        )


def take(kitchen: Kitchen) -> Batch | None:
    """Claim the next batch and load its films; return None if none is due."""
    started = time.monotonic()
    claims = _claim(kitchen)
    if not claims:
        return None
    with ExitStack() as hold:  # stops the renewals if an error occurs in this block
        hold.enter_context(kitchen.keeper.holding(claims))
        loaded = [_prepare(kitchen, held) for held in claims]
        faults.reach(Fault.FILM_LOADED)
        return Batch(loaded, hold.pop_all(), started)


def answer(kitchen: Kitchen, batch: Batch) -> list[Outcome]:
    """Return the outcome of each film of the batch."""
    prepared = [item for item in batch.loaded if isinstance(item, Prepared)]
    outcomes: list[Outcome] = [item for item in batch.loaded if isinstance(item, Failed)]
    outcomes += _conclude(kitchen.engine, prepared)
    faults.reach(Fault.FILM_INFERRED)
    return outcomes


def finish(kitchen: Kitchen, batch: Batch, outcomes: Sequence[Outcome]) -> BatchReport:
    """Store the outcomes, stop renewing the leases, notify the waiting requests."""
    with batch.hold:
        report = _store_patiently(kitchen, outcomes, round(1000 * (time.monotonic() - batch.started)))
    kitchen.resources.notifier.publish([item.held.id for item in outcomes])  # after the commit, best effort
    log.info("batch.done", claimed=report.claimed, succeeded=report.succeeded, failed=report.failed, lost=report.lost,
             request_ids=[item.held.request_id for item in outcomes])  # fmt: skip
    return report


def _claim(kitchen: Kitchen) -> list[Claim]:
    with jobs.changing(kitchen.resources.database) as changes:
        claims = changes.claim(kitchen.who, aged_first=next(kitchen.turns) % AGED_EVERY == AGED_EVERY - 1)
        if claims:
            faults.reach(Fault.FILM_CLAIMED)
    if claims:
        faults.reach(Fault.CLAIM_COMMITTED)
        kitchen.rings.expect(held.id for held in claims)
    return claims


def _prepare(kitchen: Kitchen, held: Claim) -> Prepared | Failed:
    """Read and preprocess the stored film; any error fails this film alone."""
    manifest = kitchen.engine.manifest
    try:
        pixels = stored.from_bytes(kitchen.resources.blobs.get(held.blob_ref, is_last=True))
        return Prepared(held, preprocess.prepare(pixels, manifest.preprocessing, manifest.input_shape))
    except AppError as error:
        why = error.facts.get("why") or error.detail
        log.warning("film.not_loaded", job_id=held.id, request_id=held.request_id, code=error.code, why=why)
        return Failed(held, error.code, error.detail, not error.retryable, is_ours=error.retryable)
    except Exception as error:
        log.exception("film.not_prepared", job_id=held.id, error=type(error).__name__)
        return Failed(held, "preprocessing_failed", "The preprocessing of this film failed.", is_permanent=False)


def _conclude(engine: Engine, prepared: Sequence[Prepared]) -> list[Outcome]:
    """Infer on the batch; if that fails, film by film, to isolate the film at fault."""
    if not prepared:
        return []
    try:
        return _infer(engine, prepared)
    except Exception as error:
        requests = [item.held.request_id for item in prepared]
        log.exception("inference.failed", n=len(prepared), error=type(error).__name__, request_ids=requests)
        if len(prepared) > 1:
            return [outcome for item in prepared for outcome in _conclude(engine, [item])]
        detail = "The network failed on this film."
        return [Failed(prepared[0].held, "inference_failed", detail, is_permanent=False)]


def _infer(engine: Engine, prepared: Sequence[Prepared]) -> list[Outcome]:
    """Infer on all films in one call.

    Raises:
        ModelProblem: the answer is not finite.
    """
    inference = engine.infer(preprocess.stack([item.film.values for item in prepared]))
    if not inference.is_finite:
        raise ModelProblem("The network's answer is not finite.")
    return [
        Concluded(
            item.held,
            verdict.assess(inference.evidence(place, item.film), engine.manifest),
            quality.describe(inference.saliency[place]),
        )
        for place, item in enumerate(prepared)
    ]


def _store_patiently(kitchen: Kitchen, outcomes: Sequence[Outcome], duration_ms: int) -> BatchReport:
    """Store the outcomes; retry while the database is unavailable or full, so that no film is computed again."""
    for pause_s in STORE_PAUSES_S:
        try:
            return _store(kitchen, outcomes, duration_ms=duration_ms)
        except Unavailable as error:
            log.warning("batch.not_stored", code=error.code, n=len(outcomes), again_in_s=pause_s)
            time.sleep(pause_s)
    return _store(kitchen, outcomes, duration_ms=duration_ms)


def _store(kitchen: Kitchen, outcomes: Sequence[Outcome], *, duration_ms: int) -> BatchReport:
    """Store all outcomes in one transaction; write nothing for a film whose lease is lost."""
    records = [
        (item.held, _record(kitchen.engine, item, duration_ms)) for item in outcomes if isinstance(item, Concluded)
    ]
    failures = [item for item in outcomes if isinstance(item, Failed)]
    with jobs.changing(kitchen.resources.database) as changes:
        if records and failures:
            # finish() and fail()/retry() lock rows in two passes, renew() in one: lock all rows by id first, or they
            # can deadlock
            changes.lock([item.held.id for item in outcomes])
        lost = changes.finish(kitchen.who.worker, records)
        late = [item.held for item in failures if not _give_up(kitchen, changes, item)]
        faults.reach(Fault.RESULT_WRITTEN)
    faults.reach(Fault.RESULT_COMMITTED)
    for held in (*lost, *late):
        log.warning("lease.lost", job_id=held.id, request_id=held.request_id, attempt=held.attempt)
    return BatchReport(len(outcomes), len(records) - len(lost), len(failures) - len(late), len(lost) + len(late))


def _give_up(kitchen: Kitchen, changes: jobs.JobChanges, item: Failed) -> bool:
    """Fail the job, or queue it for a retry; return False, with nothing written, if its lease is lost."""
    actor = f"worker:{kitchen.who.worker}"
    try:
        if item.is_permanent:
            changes.fail(item.held, actor, item.code, item.detail)
        else:
            pause_s = retry_delay_s(item.held.attempt, kitchen.draw)
            changes.retry(item.held, actor, item.code, pause_s, is_ours=item.is_ours)
    except LeaseLost:
        return False
    return True


def _record(engine: Engine, concluded: Concluded, duration_ms: int) -> AttemptRecord:
    """Return the columns of the result, and those that the audit event repeats."""
    manifest, assessment, saliency = engine.manifest, concluded.assessment, concluded.saliency
    raw = stored.saliency_to_bytes(saliency.values)
    recorded = {
        "model_sha256": manifest.weights_sha256,
        "verdict": assessment.verdict.value,
        "probabilities": dict(assessment.probabilities),
        "other_probability": assessment.other,
        "prediction_set": list(assessment.prediction_set),
        "reasons": list(assessment.reasons),
        "saliency_sha256": hashlib.sha256(raw).hexdigest(),
        "preprocessing": manifest.preprocessing,
        "saliency_method": saliency.method,
        "border_share": saliency.border_share,
        "is_degenerate": saliency.is_degenerate,
        "device": engine.device,
        "code_version": CODE_VERSION,
        "duration_ms": duration_ms,
    }
    columns = {**recorded, "saliency": raw}
    return AttemptRecord(columns, {**recorded, "model_version": manifest.version, "build": build_name()})
