"""The stages of a batch: take (claim and load), answer (infer and conclude), finish (store and tell).

One bad film never fails its batch. No transaction is open while the network computes. Called by `worker/pipeline.py`.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count

from shared import faults, verdict
from shared.db import jobs
from shared.db.claim_order import Claimant
from shared.db.leases import Claim, Finding
from shared.domain import Assessment, SaliencyMap
from shared.errors import AppError, LeaseLost, ModelProblem, Unavailable
from shared.faults import Fault
from shared.imaging import preprocess, stored
from shared.imaging.preprocess import NetworkInput
from shared.log import get_logger
from shared.version import CODE_VERSION
from shared.wiring import Resources
from worker.backoff import retry_delay_s
from worker.engine import quality
from worker.engine.base import Engine
from worker.engine.golden import build_name
from worker.lease import LeaseKeeper
from worker.rings import PendingRings

log = get_logger(__name__)

AGED_EVERY = 4
"""Every fourth claim begins with what has waited too long in a less urgent class."""


STORE_PAUSES_S = (0.1, 0.5, 1.0, 2.0, 4.0)


def _make_hands() -> ThreadPoolExecutor:
    """Two threads: one claims and loads, the other stores."""
    return ThreadPoolExecutor(2, thread_name_prefix="hand")


@dataclass(frozen=True, slots=True)
class Kitchen:
    """What a worker works with; `busy` is set while it has noted that it needs no ring."""

    resources: Resources
    engine: Engine
    who: Claimant
    keeper: LeaseKeeper
    draw: random.Random = field(default_factory=random.Random)
    turns: Iterator[int] = field(default_factory=count)
    hands: ThreadPoolExecutor = field(default_factory=_make_hands)
    rings: PendingRings = field(default_factory=PendingRings)
    busy: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A claimed film as a network input."""

    held: Claim
    film: NetworkInput


@dataclass(frozen=True, slots=True)
class Batch:
    """Claimed films, loaded or not loadable; their leases are kept until `hold` is closed."""

    loaded: Sequence[Prepared | Failed]
    hold: ExitStack
    started: float

    @property
    def is_suspect(self) -> bool:
        """It is a film whose last attempt ended without an answer; such a one is claimed alone."""
        return any(item.held.attempt > 1 for item in self.loaded)


@dataclass(frozen=True, slots=True)
class Concluded:
    """A film with its answer."""

    held: Claim
    assessment: Assessment
    saliency: SaliencyMap


@dataclass(frozen=True, slots=True)
class Failed:
    """A film that cannot be answered: for good, or this time; by its own fault, or by the service's."""

    held: Claim
    code: str
    detail: str
    is_permanent: bool
    is_ours: bool = False


Outcome = Concluded | Failed


@dataclass(frozen=True, slots=True)
class BatchReport:
    """How many films were taken and what became of them."""

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
    """Claim the next batch and load its films; None where nothing is due."""
    started = time.monotonic()
    claims = _claim(kitchen)
    if not claims:
        return None
    with ExitStack() as hold:  # let go where anything fails from here on
        hold.enter_context(kitchen.keeper.holding(claims))
        loaded = [_prepare(kitchen, held) for held in claims]
        faults.reach(Fault.FILM_LOADED)
        return Batch(loaded, hold.pop_all(), started)


def answer(kitchen: Kitchen, batch: Batch) -> list[Outcome]:
    """What becomes of each film."""
    prepared = [item for item in batch.loaded if isinstance(item, Prepared)]
    outcomes: list[Outcome] = [item for item in batch.loaded if isinstance(item, Failed)]
    outcomes += _conclude(kitchen.engine, prepared)
    faults.reach(Fault.FILM_INFERRED)
    return outcomes


def finish(kitchen: Kitchen, batch: Batch, outcomes: Sequence[Outcome]) -> BatchReport:
    """Store, let the leases go, tell who waits."""
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
    """Read the stored film; one that is missing, damaged, or like none before fails that job alone."""
    manifest = kitchen.engine.manifest
    try:
        pixels = stored.from_bytes(kitchen.resources.blobs.get(held.blob_ref, is_last=True))
        return Prepared(held, preprocess.prepare(pixels, manifest.preprocessing, manifest.input_shape))
    except AppError as error:
        log.warning("film.not_loaded", job_id=held.id, request_id=held.request_id, code=error.code)
        return Failed(held, error.code, error.detail, not error.retryable, is_ours=error.retryable)
    except Exception as error:
        log.exception("film.not_prepared", job_id=held.id, error=type(error).__name__)
        return Failed(held, "preprocessing_failed", "Its preprocessing failed on this film.", is_permanent=False)


def _conclude(engine: Engine, prepared: Sequence[Prepared]) -> list[Outcome]:
    """Infer on the batch; where that fails, film by film, so that the faulty one is found."""
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
    """One call for all; an answer that holds no numbers is a fault like any other."""
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
    """Store, again where the database is away or full: the answers are here, and the films need no new attempt."""
    for pause_s in STORE_PAUSES_S:
        try:
            return _store(kitchen, outcomes, duration_ms=duration_ms)
        except Unavailable as error:
            log.warning("batch.not_stored", code=error.code, n=len(outcomes), again_in_s=pause_s)
            time.sleep(pause_s)
    return _store(kitchen, outcomes, duration_ms=duration_ms)


def _store(kitchen: Kitchen, outcomes: Sequence[Outcome], *, duration_ms: int) -> BatchReport:
    """All outcomes in one transaction; of a film whose lease is lost nothing is written."""
    found = [
        (item.held, _finding(kitchen.engine, item, duration_ms)) for item in outcomes if isinstance(item, Concluded)
    ]
    faulty = [item for item in outcomes if isinstance(item, Failed)]
    with jobs.changing(kitchen.resources.database) as changes:
        if found and faulty:  # two walks through the same rows as `renew`'s one
            changes.lock([item.held.id for item in outcomes])
        lost = changes.finish(kitchen.who.worker, found)
        late = [item.held for item in faulty if not _give_up(kitchen, changes, item)]
        faults.reach(Fault.RESULT_WRITTEN)
    faults.reach(Fault.RESULT_COMMITTED)
    for held in (*lost, *late):
        log.warning("lease.lost", job_id=held.id, request_id=held.request_id, attempt=held.attempt)
    return BatchReport(len(outcomes), len(found) - len(lost), len(faulty) - len(late), len(lost) + len(late))


def _give_up(kitchen: Kitchen, changes: jobs.JobChanges, item: Failed) -> bool:
    """Fail the film, or let it be tried again; False where its lease is lost, which wrote nothing."""
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


def _finding(engine: Engine, concluded: Concluded, duration_ms: int) -> Finding:
    """The result's columns, and of them what the audit event repeats."""
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
    return Finding(columns, {**recorded, "model_version": manifest.version, "build": build_name()})
