"""Explanations for tests: made through the product's own functions; an explainer that answers by rule."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from shared.arrays import FloatArray
from shared.db import explanations
from shared.db.engine import Database
from shared.db.explanations import NewExplanation, Order
from shared.db.leases import AttemptRecord
from shared.db.tables import WorkerHeartbeat
from shared.domain import ExplanationMethod
from shared.imaging import stored
from shared.manifest import ModelManifest
from shared.wiring import new_job_id
from tests.fakes import make_manifest
from tests.jobs import claim, finish, make_job, register_model
from worker.engine.explain import Labels, Parameters

QUALITY: dict[str, object] = {
    "method": "gradient",
    "label": 1,
    "seed": 0,
    "deletion": [0.8, 0.2],
    "insertion": [0.2, 0.8],
    "deletion_auc": 0.31,
    "insertion_auc": 0.72,
    "random_auc": 0.58,
    "random_least": 0.47,
    "random_most": 0.69,
    "second_method": "grad_cam",
    "agreement": 0.4,
    "stability": None,
    "border_share": 0.25,
    "is_degenerate": False,
    "degenerate_reason": None,
}


def make_result(database: Database, *, blob_ref: str = "default/none/none") -> str:
    """A job with an ordinary result: its most probable label is 'normal', its map Grad-CAM's."""
    job_id = make_job(database, blob_ref=blob_ref)
    finish(database, claim(database)[0])
    return job_id


def make_explanation(
    database: Database, job_id: str, *, method: str = "gradient", max_attempts: int = 3, model_sha256: str = ""
) -> str:
    """Ask for a map of a job that has a result; returns the explanation's id."""
    asked = new_explanation(job_id, model_sha256 or register_model(database), method, max_attempts)
    with explanations.changing(database) as changes:
        changes.insert_queued(asked)
    return asked.id


def new_explanation(job_id: str, model_sha256: str, method: str = "gradient", max_attempts: int = 3) -> NewExplanation:
    """What is asked for."""
    chosen = ExplanationMethod(method)
    return NewExplanation(
        new_job_id(), "default", "testkey", job_id, chosen, "normal", 0, model_sha256, max_attempts, "request"
    )


def take(
    database: Database, *, worker: str = "w1", lease_s: float = 20.0, model_sha256: str | None = None
) -> Order | None:
    """Claim what waits longest, for a worker with the fake model unless told otherwise."""
    with explanations.changing(database) as changes:
        return changes.claim(worker, model_sha256 or make_manifest().weights_sha256, lease_s)


def make_map_record(**changed: object) -> AttemptRecord:
    """A map as the worker would write it; `changed` are numbers of its quality."""
    raw = stored.saliency_to_bytes(np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16))
    recorded = {
        "values_sha256": hashlib.sha256(raw).hexdigest(),
        "parameters": {},
        "device": "cpu",
        "code_version": "0",
        "duration_ms": 5,
    }
    quality = QUALITY | changed
    return AttemptRecord({**recorded, "values": raw, "quality": quality}, {**recorded, "quality": quality})


def explain(database: Database, **changed: object) -> Order:
    """Take what waits longest and finish it."""
    order = take(database)
    assert order is not None
    with explanations.changing(database) as changes:
        changes.finish(order.held, "w1", make_map_record(**changed))
    return order


def fail_explanation(database: Database, code: str = "model_replaced") -> Order:
    """Take what waits longest and fail it."""
    order = take(database)
    assert order is not None
    with explanations.changing(database) as changes:
        changes.fail(order.held, "worker:w1", code, "It <b>cannot</b> be explained.")
    return order


def add_explainer(database: Database) -> None:
    """A living worker that makes maps and reads no films."""
    with database.begin() as session:
        now = database.now(session)
        session.add(WorkerHeartbeat(worker="w9", queues="explain", model_sha256="f" * 64, device="cpu",
                                    started_at=now, polled_at=now))  # fmt: skip


@dataclass(slots=True)
class RuleExplainer:
    """An `Explainer` without a network: the score of 'normal' is the mean of the film's top half.

    Its map is the film itself, so the brightest parts are marked; those of the Grad-CAM methods are coarse, 7 x 7.
    `meddle` is called at each explanation.
    """

    manifest: ModelManifest = field(default_factory=make_manifest)
    device: str = "fake/1"
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    meddle: Callable[[], object] = lambda: None

    def scores(self, x: FloatArray) -> FloatArray:
        """(N, 3): all but the score of 'normal' goes to COVID-19."""
        normal = x[:, : x.shape[1] // 2].mean(axis=(1, 2, 3))
        return np.stack([1 - normal, normal, np.zeros_like(normal)], axis=1).astype(np.float32)

    def explain(
        self,
        x: FloatArray,
        method: str,
        labels: Labels | None = None,
        seed: int = 0,
        parameters: Parameters | None = None,
    ) -> FloatArray:
        """The film, its largest value 1: (N, 16, 16), or (N, 7, 7) for the methods of regions."""
        del parameters
        self.meddle()
        assert labels is not None
        self.asked.append((method, int(labels[0]), seed))
        peak = np.maximum(x.max(axis=(1, 2, 3), keepdims=True), 1e-6)
        maps: FloatArray = (x / peak)[..., 0].astype(np.float32)
        return maps[:, 1:15:2, 1:15:2] if method.startswith("grad_cam") else maps
