"""The use case "explain one film": the very film, model and label; judged, stored once, and never a worker's end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update

from shared import wire
from shared.arrays import FloatArray
from shared.db import audit, explanation_queries, explanations
from shared.db.engine import Database
from shared.db.leases import MOST_ATTEMPTS
from shared.db.tables import AuditEvent, Explanation, Model
from shared.domain import ExplanationState
from shared.errors import BadChecksum
from shared.imaging import stored
from shared.wiring import Resources, new_job_id
from tests.explanations import RuleExplainer, make_explanation, make_result
from tests.factories import make_pixels
from tests.fakes import MemoryBlobs
from tests.kitchens import LongPause, UnmountedBlobs
from worker.engine.explain import Explainer
from worker.explain import Desk, explain_next
from worker.lease import LeaseKeeper

BRIGHT = np.tile(np.array([[255], [0]], np.uint8).repeat(8, axis=0), (1, 16))
"""A white top half over a black one, of the fake network's size: 'normal' for certain."""


class LostExplainer(RuleExplainer):
    """Its scores are no numbers."""

    def scores(self, x: FloatArray) -> FloatArray:
        """NaN."""
        return np.full((len(x), 3), np.nan, np.float32)


@dataclass
class Setting:
    """A desk and shorthands for what comes of it."""

    desk: Desk
    explainer: RuleExplainer

    @property
    def database(self) -> Database:
        """Its database."""
        return self.desk.resources.database

    def film(self, pixels: np.ndarray | None = None) -> str:
        """A stored film with an ordinary result."""
        data = stored.to_bytes(make_pixels() if pixels is None else pixels)
        return make_result(self.database, blob_ref=self.desk.resources.blobs.put("default", new_job_id(), data))

    def get(self, job_id: str, method: str = "gradient") -> wire.ExplanationDetail:
        """As the API answers it."""
        with self.database.read() as session:
            return explanation_queries.get_explanation(session, "default", job_id, method)

    def get_map(self, job_id: str, method: str = "gradient") -> FloatArray:
        """Its values."""
        with self.database.read() as session:
            return stored.saliency_from_bytes(explanation_queries.get_map(session, "default", job_id, method))

    def events(self, job_id: str) -> list[tuple[str, dict[str, Any]]]:
        """(action, body) of the job's trail after its verdict; Any: JSON."""
        with self.database.read() as session:
            assert audit.verify(session)[1] is None
            found = select(AuditEvent).where(AuditEvent.subject == job_id).order_by(AuditEvent.seq)
            return [(row.action, json.loads(row.body)) for row in session.scalars(found)][3:]

    def later(self) -> None:
        """Put-back explanations are due now."""
        with self.database.begin() as session:
            session.execute(update(Explanation).values(not_before=Explanation.created_at))

    def let_lease_end(self) -> None:
        """As if the worker had been silent, and the sweeper had come."""
        with self.database.begin() as session:
            session.execute(update(Explanation).values(lease_until=Explanation.created_at))
        with explanations.changing(self.database) as changes:
            assert changes.requeue_expired()


@pytest.fixture
def make_setting(resources: Resources) -> Callable[..., Setting]:
    """Builds a desk around an explainer."""

    def make(explainer: RuleExplainer | None = None, **changed: object) -> Setting:
        chosen = explainer or RuleExplainer()
        own = replace(resources, **changed)  # type: ignore[arg-type]
        keeper = LeaseKeeper(own.database, 20.0, 60.0)
        model = chosen.manifest.weights_sha256
        return Setting(Desk(own, "w1", model, 20.0, keeper, lambda: chosen, LongPause()), chosen)

    return make


def test_a_map_is_made_of_the_film_and_judged(make_setting: Callable[..., Setting]) -> None:
    """The map marks the top half, which alone is what the fake scores: both curves are those of the arithmetic."""
    setting = make_setting()
    job_id = setting.film(BRIGHT)
    make_explanation(setting.database, job_id)
    assert explain_next(setting.desk)
    found = setting.get(job_id)
    assert (found.status, found.label, found.attempt, found.error) == (ExplanationState.SUCCEEDED, "normal", 1, None)
    np.testing.assert_array_equal(setting.get_map(job_id), BRIGHT / np.float32(255))
    assert found.quality is not None
    assert found.quality.deletion_auc == pytest.approx(0.625)  # 1 to 0.5 while the top half goes, then 0.5
    assert found.quality.insertion_auc == pytest.approx(0.875)  # 0.5 to 1 while it comes, then 1
    assert 0.625 < found.quality.random_auc < 0.875
    assert (found.border_share, found.is_degenerate) == (pytest.approx(1 - 0.8 * 0.4 / 0.5), False)


def test_it_is_the_label_seed_and_method_that_were_asked_for(make_setting: Callable[..., Setting]) -> None:
    """The map, the second method and the map of noisy copies are all of the same label and seed."""
    setting = make_setting()
    make_explanation(setting.database, setting.film())
    explain_next(setting.desk)
    assert setting.explainer.asked == [("gradient", 1, 0), ("grad_cam", 1, 0), ("gradient", 1, 0)]


def test_the_trail_tells_what_was_made_and_what_it_is_worth(make_setting: Callable[..., Setting]) -> None:
    """Three events, the last with the map's digest, its parameters, the model and all the numbers."""
    setting = make_setting()
    job_id = setting.film()
    make_explanation(setting.database, job_id, method="smooth_grad")
    explain_next(setting.desk)
    (asked, _), (claimed, _), (explained, facts) = setting.events(job_id)
    assert (asked, claimed, explained) == ("explanation_requested", "explanation_claimed", "explained")
    found = setting.get(job_id, "smooth_grad")
    told = facts["facts"]
    assert told["values_sha256"] == found.sha256
    assert told["parameters"] == found.parameters == {"samples": 25, "noise": 0.1}
    assert told["model_sha256"] == found.model_sha256
    assert found.quality is not None
    for name in ("deletion_auc", "deletion", "insertion"):
        assert told["quality"][name] == getattr(found.quality, name)


def test_the_verdicts_own_map_is_judged_and_not_made_again(make_setting: Callable[..., Setting]) -> None:
    """Its values stay those of the result; only noisy copies are mapped by its method."""
    setting = make_setting()
    job_id = setting.film()
    before = setting.get_map(job_id, "grad_cam")
    make_explanation(setting.database, job_id, method="grad_cam")
    explain_next(setting.desk)
    assert setting.explainer.asked == [("integrated_gradients", 1, 0), ("grad_cam", 1, 0)]
    np.testing.assert_array_equal(setting.get_map(job_id, "grad_cam"), before)
    assert setting.get(job_id, "grad_cam").quality is not None


def test_nothing_due_is_told_without_loading_anything(make_setting: Callable[..., Setting]) -> None:
    """The explainer costs memory: an idle worker never has it."""
    setting = make_setting()

    def load() -> Explainer:
        raise AssertionError("loaded for nothing")

    setting.desk.load = load
    setting.film()
    assert not explain_next(setting.desk)


def test_the_explainer_is_loaded_once(make_setting: Callable[..., Setting]) -> None:
    """At the first explanation, for all that follow."""
    setting = make_setting()
    loads: list[int] = []

    def load() -> Explainer:
        loads.append(1)
        return setting.explainer

    setting.desk.load = load
    job_id = setting.film()
    for method in ("gradient", "smooth_grad"):
        make_explanation(setting.database, job_id, method=method)
        explain_next(setting.desk)
    assert loads == [1]


def test_a_model_that_cannot_be_loaded_fails_the_request_and_is_tried_again(
    make_setting: Callable[..., Setting],
) -> None:
    """The worker goes on; once the folder is mended the next request is answered."""
    setting = make_setting()
    whole = setting.desk.load

    def broken() -> Explainer:
        raise BadChecksum("The weights are not the manifest's.")

    setting.desk.load = broken
    job_id = setting.film()
    make_explanation(setting.database, job_id)
    make_explanation(setting.database, job_id, method="smooth_grad")
    assert explain_next(setting.desk)
    setting.desk.load = whole
    assert explain_next(setting.desk)
    failed, done = setting.get(job_id), setting.get(job_id, "smooth_grad")
    assert failed.error is not None
    assert (failed.error.code, done.status) == ("bad_checksum", ExplanationState.SUCCEEDED)


def test_a_film_of_another_model_is_refused_for_good(make_setting: Callable[..., Setting]) -> None:
    """A map of the loaded model would not explain the other one's verdict; no worker has that one."""
    setting = make_setting()
    job_id = setting.film()
    with setting.database.begin() as session:
        now = setting.database.now(session)
        session.add(Model(weights_sha256="e" * 64, name="old", version="0", manifest="{}", registered_at=now))
    make_explanation(setting.database, job_id, model_sha256="e" * 64)
    assert explain_next(setting.desk)
    found = setting.get(job_id)
    assert found.error is not None
    assert (found.status, found.error.code, found.sha256) == (ExplanationState.FAILED, "model_replaced", None)
    assert setting.explainer.asked == []


def test_a_film_that_is_gone_fails_at_once(make_setting: Callable[..., Setting]) -> None:
    """Trying again would change nothing; the verdict's own map stays."""
    setting = make_setting()
    job_id = setting.film()
    for method in ("gradient", "grad_cam"):
        make_explanation(setting.database, job_id, method=method)
    blobs = setting.desk.resources.blobs
    assert isinstance(blobs, MemoryBlobs)
    blobs.data.clear()
    while explain_next(setting.desk):
        pass
    failures = [setting.get(job_id, method) for method in ("gradient", "grad_cam")]
    assert [found.error and found.error.code for found in failures] == ["blob_missing", "blob_missing"]
    assert [found.sha256 is None for found in failures] == [True, False]
    assert setting.get_map(job_id, "grad_cam").shape == (7, 7)


def test_a_store_that_is_away_is_waited_for(make_setting: Callable[..., Setting]) -> None:
    """Put back with a pause each time, as films are; given up after thirty attempts, until somebody asks again."""
    setting = make_setting(blobs=UnmountedBlobs())
    job_id = setting.film()
    make_explanation(setting.database, job_id)
    for attempt in range(1, MOST_ATTEMPTS + 1):
        assert explain_next(setting.desk)
        assert setting.get(job_id).attempt == attempt
        assert not explain_next(setting.desk)
        setting.later()
    found = setting.get(job_id)
    assert found.error is not None
    assert (found.status, found.error.code) == (ExplanationState.FAILED, "poisoned")
    assert [action for action, _ in setting.events(job_id)].count("explanation_requeued") == MOST_ATTEMPTS - 1
    assert not explain_next(setting.desk)


def test_a_fault_of_the_network_is_not_the_workers_end(make_setting: Callable[..., Setting]) -> None:
    """It is this explanation's, and may pass: put back."""

    def break_down() -> None:
        raise RuntimeError("out of memory")

    setting = make_setting(RuleExplainer(meddle=break_down))
    job_id = setting.film()
    make_explanation(setting.database, job_id)
    assert explain_next(setting.desk)
    assert setting.get(job_id).status is ExplanationState.QUEUED
    action, facts = setting.events(job_id)[-1]
    assert action == "explanation_requeued"
    assert "explanation_failed" in str(facts)


def test_scores_that_are_no_numbers_are_not_stored(make_setting: Callable[..., Setting]) -> None:
    """The model is at fault: no map, and its code."""
    setting = make_setting(LostExplainer())
    job_id = setting.film()
    make_explanation(setting.database, job_id)
    explain_next(setting.desk)
    found = setting.get(job_id)
    assert found.error is not None
    assert (found.error.code, found.quality) == ("model_problem", None)


def test_a_map_that_says_nothing_is_stored_and_told(make_setting: Callable[..., Setting]) -> None:
    """A black film has a black map here: degenerate, with the reason, and correlations that cannot be told."""
    setting = make_setting()
    job_id = setting.film(np.zeros((16, 16), np.uint8))
    make_explanation(setting.database, job_id)
    explain_next(setting.desk)
    found = setting.get(job_id)
    assert (found.status, found.is_degenerate, found.degenerate_reason) == ("succeeded", True, "all_zero")
    assert found.quality is not None
    assert found.quality.agreement is None


def test_an_attempt_that_lost_its_lease_writes_nothing(make_setting: Callable[..., Setting]) -> None:
    """While it computed, the sweeper gave its explanation back: the other attempt's answer counts."""
    setting = make_setting()
    job_id = setting.film()
    make_explanation(setting.database, job_id)
    setting.explainer.meddle = setting.let_lease_end
    assert explain_next(setting.desk)
    found = setting.get(job_id)
    assert (found.status, found.attempt, found.sha256) == (ExplanationState.QUEUED, 1, None)
    assert "explained" not in [action for action, _ in setting.events(job_id)]
    setting.explainer.meddle = lambda: None
    assert explain_next(setting.desk)
    assert (setting.get(job_id).status, setting.get(job_id).attempt) == (ExplanationState.SUCCEEDED, 2)


def test_the_lease_is_kept_while_it_computes_and_no_longer(make_setting: Callable[..., Setting]) -> None:
    """The keeper's tick renews the explanation's lease, in a transaction that nothing of ours blocks."""
    setting = make_setting()
    renewed = []

    def look() -> None:
        with setting.database.begin() as session:
            session.execute(update(Explanation).values(lease_until=Explanation.created_at))
        setting.desk.keeper.tick()
        with setting.database.read() as session:
            row = session.scalars(select(Explanation)).one()
            renewed.append(row.lease_until is not None and row.lease_until > row.created_at)

    job_id = setting.film()
    make_explanation(setting.database, job_id)
    setting.explainer.meddle = look
    explain_next(setting.desk)
    assert renewed == [True, True, True]
    assert setting.desk.keeper._holdings == []
    assert setting.get(job_id).status is ExplanationState.SUCCEEDED
