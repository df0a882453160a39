"""The use case "explain one film": claim, load, preprocess, explain, judge, store. One at a time, beside the films.

Called by a thread of its own, which begins none while a film is due. The explainer costs memory, so it is loaded at
the first explanation. No transaction is open while it computes; the lease gives back an explanation lost midway.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np

from shared.arrays import FloatArray
from shared.db import explanations
from shared.db.explanations import Order
from shared.db.leases import AttemptRecord
from shared.errors import AppError, LeaseLost, ModelProblem, ModelReplaced
from shared.imaging import preprocess, stored
from shared.log import get_logger
from shared.version import CODE_VERSION
from shared.wiring import Resources
from worker.backoff import retry_delay_s
from worker.engine.explain import Explainer, parameters_for
from worker.engine.judge import MapQuality, judge, to_json
from worker.lease import LeaseKeeper

log = get_logger(__name__)

PATIENCE = 5.0
"""Run limits that an explanation may take: the first SmoothGrad of a worker, judged, took 31 s on two busy cores."""


@dataclass(slots=True)
class Desk:
    """The resources and state that a worker makes explanations with.

    Attributes:
        worker: the name of the worker.
        model_sha256: the weights that the worker classifies with.
        lease_s: duration of a lease.
        load: builds the explainer; called once, at the first explanation.
        draw: draws the delays of retries.
    """

    resources: Resources
    worker: str
    model_sha256: str
    lease_s: float
    keeper: LeaseKeeper
    load: Callable[[], Explainer]
    draw: random.Random = field(default_factory=random.Random)
    _explainer: Explainer | None = None

    def explainer(self) -> Explainer:
        """Return the explainer; load it at the first call.

        Raises:
            ModelProblem: the explainer cannot be built.
        """
        if self._explainer is None:
            started = time.monotonic()
            self._explainer = self.load()
            log.info("explainer.loaded", duration_ms=_ms_since(started))
        return self._explainer


@dataclass(frozen=True, slots=True)
class Explained:
    """A saliency map and its quality: `values` (h, w) float32 in [0, 1]."""

    values: FloatArray
    quality: MapQuality
    device: str


@dataclass(frozen=True, slots=True)
class Failed:
    """An explanation without a map.

    Attributes:
        is_permanent: the explanation fails; otherwise it is retried.
        is_ours: the service is at fault, not the film or the network.
    """

    code: str
    detail: str
    is_permanent: bool
    is_ours: bool = False


def explain_next(desk: Desk) -> bool:
    """Make the explanation that has waited longest.

    Returns:
        False if none was due.

    Raises:
        Unavailable: the database went away; the lease gives the explanation back.
    """
    started = time.monotonic()
    with explanations.changing(desk.resources.database) as changes:
        order = changes.claim(desk.worker, desk.model_sha256, desk.lease_s)
    if order is None:
        return False
    with desk.keeper.holding([order.held], explanations.changing, PATIENCE):
        outcome = _try_to_explain(desk, order)
        duration_ms = _ms_since(started)
        _store(desk, order, outcome, duration_ms)
    log.info("explanation.ended", explanation=order.held.id, method=order.method.value, duration_ms=duration_ms,
             outcome=type(outcome).__name__, request_id=order.held.request_id)  # fmt: skip
    return True


def _try_to_explain(desk: Desk, order: Order) -> Explained | Failed:
    """Explain; any error fails this explanation, not the worker."""
    try:
        return _explain(desk, order)
    except AppError as error:
        log.warning("explanation.failed", explanation=order.held.id, code=error.code)
        return Failed(error.code, error.detail, is_permanent=not error.retryable, is_ours=error.retryable)
    except Exception as error:
        log.exception("explanation.failed", explanation=order.held.id, error=type(error).__name__)
        return Failed("explanation_failed", "The network failed on this explanation.", is_permanent=False)


def _explain(desk: Desk, order: Order) -> Explained:
    """Return the map of the tensor that was classified, by the model of the result, and its quality.

    The Grad-CAM map of the verdict is not made again: the stored one is judged.

    Raises:
        ModelReplaced: the loaded model is not the one that classified the film.
        AppError: the film cannot be read, or the explainer refuses.
    """
    explainer = desk.explainer()
    manifest = explainer.manifest
    if manifest.weights_sha256 != order.model_sha256:
        raise ModelReplaced("Another model classified this film; a heatmap of the one loaded now would not explain it.")
    pixels = stored.from_bytes(desk.resources.blobs.get(order.held.blob_ref))
    x = preprocess.prepare(pixels, order.preprocessing, manifest.input_shape).values
    label = manifest.labels.index(order.label)
    values = _make_map(explainer, order, x, label)
    quality = judge(explainer, x, values, order.method.value, label, order.seed)
    if not np.isfinite([quality.deletion_auc, quality.insertion_auc, quality.random_auc]).all():
        raise ModelProblem("The network's answers to this explanation are not finite.")
    return Explained(values, quality, explainer.device)


def _make_map(explainer: Explainer, order: Order, x: FloatArray, label: int) -> FloatArray:
    """Return the map (h, w) float32 in [0, 1] of x: (H, W, C) float32; that of the verdict is stored already."""
    if order.verdict_map is not None:
        return stored.saliency_from_bytes(order.verdict_map)
    values: FloatArray = explainer.explain(x[np.newaxis], order.method.value, np.array([label]), order.seed)[0]
    return values


def _store(desk: Desk, order: Order, outcome: Explained | Failed, duration_ms: int) -> None:
    """Store the outcome in one transaction; write nothing if the lease is lost."""
    held, actor = order.held, f"worker:{desk.worker}"
    try:
        with explanations.changing(desk.resources.database) as changes:
            if isinstance(outcome, Explained):
                changes.finish(held, desk.worker, _record(order, outcome, duration_ms))
            elif outcome.is_permanent:
                changes.fail(held, actor, outcome.code, outcome.detail)
            else:
                pause_s = retry_delay_s(held.attempt, desk.draw)
                changes.retry(held, actor, outcome.code, pause_s, is_ours=outcome.is_ours)
    except LeaseLost:
        log.warning("lease.lost", explanation=held.id, attempt=held.attempt)


def _record(order: Order, explained: Explained, duration_ms: int) -> AttemptRecord:
    """Return the columns of the row, and those that the audit event repeats."""
    raw = stored.saliency_to_bytes(explained.values)
    judged = to_json(explained.quality)
    recorded = {
        "values_sha256": hashlib.sha256(raw).hexdigest(),
        "parameters": asdict(parameters_for(order.method.value)),
        "device": explained.device,
        "code_version": CODE_VERSION,
        "duration_ms": duration_ms,
    }
    columns = {**recorded, "values": raw, "quality": judged}
    return AttemptRecord(columns, {**recorded, "model_sha256": order.model_sha256, "quality": judged})


def _ms_since(started: float) -> int:
    return round(1000 * (time.monotonic() - started))
