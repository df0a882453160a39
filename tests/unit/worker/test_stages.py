"""The stages of a batch: each film gets its own answer, once, and no transaction waits for the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, select, update

from shared.db import audit, jobs
from shared.db.engine import Database, make_engine
from shared.db.tables import AuditEvent, Job, Result, WorkerHeartbeat
from shared.domain import Priority
from shared.errors import AppError, DatabaseDown, StorageFull
from shared.imaging import stored
from shared.wiring import new_job_id
from tests.factories import make_pixels
from tests.fakes import FakeEngine, LocalNotifier
from tests.jobs import claim, make_job
from tests.kitchens import LostEngine, MeddlingEngine, Setting, UnmountedBlobs
from worker import stages
from worker.stages import BatchReport

BRIGHT = np.tile(np.array([[255], [0]], np.uint8).repeat(24, axis=0), (1, 64))
"""A white top half over a black one: the fake engine says 0.95 COVID-19."""


def test_a_batch_is_hinted_at_once_and_after_its_commit(
    make_setting: Callable[..., Setting], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hint for all films whatever became of them; whoever hears it finds the end in SQL."""
    setting = make_setting(LostEngine())
    films = [setting.film(BRIGHT), setting.film(), setting.film()]
    notifier = setting.kitchen.resources.notifier
    assert isinstance(notifier, LocalNotifier)
    seen: list[list[str]] = []
    publish = LocalNotifier.publish

    def look(told: LocalNotifier, job_ids: Sequence[str]) -> bool:
        seen.append([setting.job(job_id).status.value for job_id in job_ids])
        return publish(told, job_ids)

    monkeypatch.setattr(LocalNotifier, "publish", look)
    setting.process()
    assert [sorted(hint) for hint in notifier.published] == [sorted(films)]
    assert sorted(seen[0]) == ["queued", "succeeded", "succeeded"]
    setting.process()
    assert len(notifier.published) == 1


def test_a_dead_broker_delays_no_result(setting: Setting) -> None:
    """The hint is lost, the result is not."""
    assert isinstance(setting.kitchen.resources.notifier, LocalNotifier)
    setting.kitchen.resources.notifier.down = True
    job_id = setting.film()
    setting.process()
    assert setting.job(job_id).status == "succeeded"


def test_a_batch_is_answered_film_by_film(setting: Setting) -> None:
    """Five films, one call of the engine, five results of their own."""
    bright, others = setting.film(BRIGHT), [setting.film() for _ in range(4)]
    assert setting.process() == BatchReport(claimed=5, succeeded=5)
    assert setting.kitchen.engine.batches == [5]
    found = setting.job(bright)
    assert found.result is not None
    assert found.model is not None
    assert (found.status, found.done, found.attempt) == ("succeeded", True, 1)
    assert found.result.verdict == "covid19"
    expected = {"covid19": 0.95, "normal": 0.045, "viral_pneumonia": 0.005}
    assert found.result.probabilities == pytest.approx(expected, abs=0.01)  # resizing blurs the edge
    assert sum(found.result.probabilities.values()) == pytest.approx(1.0)
    assert (found.model.name, found.model.preprocessing) == ("fake", "grey_window_v1")
    assert {setting.job(other).status for other in others} == {"succeeded"}


def test_a_result_belongs_to_its_film(setting: Setting) -> None:
    """Neighbours in a batch do not swap their answers."""
    made = {setting.film(BRIGHT if n % 3 == 0 else BRIGHT[::-1]): n % 3 == 0 for n in range(7)}
    setting.process()
    for job_id, is_bright in made.items():
        result = setting.job(job_id).result
        assert result is not None
        assert (result.probabilities["covid19"] > 0.5) is is_bright


def test_the_audit_repeats_the_result(setting: Setting) -> None:
    """One event accepted, one claimed, one at the end, with verdict, digests and versions; the chain holds."""
    job_id = setting.film()
    setting.process()
    assert setting.actions(job_id) == ["accepted", "claimed", "succeeded"]
    with setting.database.read() as session:
        body = session.scalars(select(AuditEvent.body).where(AuditEvent.action == "succeeded")).one()
        row = session.get_one(Result, job_id)
        assert audit.verify(session) == (3, None)
    for expected in (row.verdict, row.model_sha256, row.saliency_sha256, "grey_window_v1", "fake/1", '"attempt":1'):
        assert expected in body


def test_nothing_due_is_nothing_done(setting: Setting) -> None:
    """No claim, no call of the engine."""
    assert setting.process() == BatchReport()
    assert setting.kitchen.engine.batches == []


def test_a_film_is_answered_once(setting: Setting) -> None:
    """A second ring finds nothing."""
    setting.film()
    assert [setting.process().claimed, setting.process().claimed] == [1, 0]


def test_a_lost_film_fails_alone_and_for_good(setting: Setting) -> None:
    """Blob gone: failed with its code at the first attempt; the neighbours succeed."""
    lost, good = setting.film(), setting.film()
    setting.kitchen.resources.blobs.delete(setting.blob_ref(lost))
    assert setting.process() == BatchReport(claimed=2, succeeded=1, failed=1)
    found = setting.job(lost)
    assert (found.status, found.attempt, found.result) == ("failed", 1, None)
    assert found.error is not None
    assert found.error.code == "blob_missing"
    assert "default/" not in found.error.detail
    assert setting.job(good).status == "succeeded"
    assert setting.actions(lost) == ["accepted", "claimed", "failed"]


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"garbage", stored.to_bytes(make_pixels())[:-9],
                                  stored.saliency_to_bytes(np.zeros((4, 4), np.float32))],
                         ids=["empty", "header", "garbage", "cut", "float"])  # fmt: skip
def test_a_film_in_another_form_waits_for_a_worker_that_reads_it(setting: Setting, data: bytes) -> None:
    """Bytes that are no film of this build, though their checksum is right: nothing is lost where a newer one runs."""
    ref = setting.kitchen.resources.blobs.put("default", new_job_id(), data)
    bad, good = make_job(setting.database, blob_ref=ref), setting.film()
    setting.process()
    assert setting.actions(bad) == ["accepted", "claimed", "requeued"]
    assert [setting.job(bad).status, setting.job(good).status] == ["queued", "succeeded"]


def test_a_film_that_no_preprocessing_takes_fails_alone(setting: Setting) -> None:
    """Whole, of this build's form, and without a pixel: it is tried again, and its neighbours have their answers."""
    ref = setting.kitchen.resources.blobs.put("default", new_job_id(), stored.to_bytes(np.zeros((0, 0), np.uint8)))
    bad, good = make_job(setting.database, blob_ref=ref), [setting.film() for _ in range(3)]
    assert setting.process() == BatchReport(claimed=4, succeeded=3, failed=1)
    assert {setting.job(job_id).status for job_id in good} == {"succeeded"}
    assert setting.actions(bad) == ["accepted", "claimed", "requeued"]
    for _ in range(2):
        setting.later()
        setting.process()
    found = setting.job(bad)
    assert (found.status, found.attempt) == ("failed", 3)
    assert found.error is not None
    assert found.error.code == "poisoned"


def test_a_batch_without_a_readable_film_does_not_ask_the_engine(setting: Setting) -> None:
    """All are failed, none is inferred."""
    for _ in range(2):
        setting.kitchen.resources.blobs.delete(setting.blob_ref(setting.film()))
    assert setting.process() == BatchReport(claimed=2, failed=2)
    assert setting.kitchen.engine.batches == []


@pytest.mark.parametrize("fault", [DatabaseDown, StorageFull])
def test_an_answer_waits_for_a_database_that_is_away_or_full(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, fault: type[AppError]
) -> None:
    """When the batch is to be stored: the film is neither computed again nor does it lose an attempt."""
    store, calls = stages._store, list[int]()

    def away(*arguments: Any, **named: Any) -> BatchReport:
        calls.append(1)
        if len(calls) < 3:
            raise fault("Try again shortly.")
        return store(*arguments, **named)

    monkeypatch.setattr(stages, "_store", away)
    monkeypatch.setattr(stages, "STORE_PAUSES_S", (0.0, 0.0))
    job_id = setting.film()
    assert setting.process() == BatchReport(claimed=1, succeeded=1)
    assert (setting.job(job_id).attempt, setting.kitchen.engine.batches) == (1, [1])


def test_a_database_that_stays_away_is_told(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the lease gives the film back."""

    def away(*_: Any, **__: Any) -> BatchReport:
        raise DatabaseDown("The database does not answer; try again shortly.")

    monkeypatch.setattr(stages, "_store", away)
    monkeypatch.setattr(stages, "STORE_PAUSES_S", (0.0,))
    setting.film()
    with pytest.raises(DatabaseDown):
        setting.process()


def test_a_store_that_is_away_fails_no_film(make_setting: Callable[..., Setting]) -> None:
    """Back to the queue, to be tried again a little later."""
    setting = make_setting(blobs=UnmountedBlobs())
    job_id = setting.film()
    setting.process()
    assert setting.job(job_id).status == "queued"
    assert setting.process().claimed == 0
    assert setting.actions(job_id) == ["accepted", "claimed", "requeued"]


def test_every_fourth_claim_begins_with_what_has_aged(setting: Setting) -> None:
    """One film a batch: three that are urgent, then the one of the least class that has waited too long."""
    setting.kitchen = replace(setting.kitchen, who=replace(setting.kitchen.who, limit=1, aged_after_s=1e-6))
    bulk = setting.film(priority=Priority.BULK)
    urgent = [setting.film(priority=Priority.STAT) for _ in range(4)]
    ended = []
    for _ in range(5):
        setting.process()
        ended += [film for film in (bulk, *urgent) if film not in ended and setting.job(film).done]
    assert ended.index(bulk) == 3


def test_a_film_that_breaks_the_network_is_found(make_setting: Callable[..., Setting]) -> None:
    """The batch is repeated film by film: the others are answered now, the faulty one is put back."""
    setting = make_setting(FakeEngine(fails_on=0.5))
    bad, good = setting.film(BRIGHT), [setting.film() for _ in range(3)]
    assert setting.process() == BatchReport(claimed=4, succeeded=3, failed=1)
    assert setting.kitchen.engine.batches == [4, 1, 1, 1, 1]
    assert {setting.job(job_id).status for job_id in good} == {"succeeded"}
    assert (setting.job(bad).status, setting.job(bad).error) == ("queued", None)


def test_a_film_that_always_breaks_the_network_is_given_up(make_setting: Callable[..., Setting]) -> None:
    """After its attempts: poisoned, one terminal event, not claimed again."""
    setting = make_setting(FakeEngine(fails_on=0.5))
    bad = setting.film(BRIGHT, max_attempts=3)
    for _ in range(3):
        assert setting.process().claimed == 1
        setting.later()
    assert setting.process().claimed == 0
    found = setting.job(bad)
    assert found.error is not None
    assert (found.status, found.attempt, found.error.code) == ("failed", 3, "poisoned")
    assert setting.actions(bad) == ["accepted", *["claimed", "requeued"] * 2, "claimed", "failed"]


def test_an_answer_that_is_no_number_is_no_answer(make_setting: Callable[..., Setting]) -> None:
    """NaN for one film takes no neighbour's result along."""
    setting = make_setting(LostEngine())
    lost, good = setting.film(BRIGHT), setting.film()
    assert setting.process() == BatchReport(claimed=2, succeeded=1, failed=1)
    assert (setting.job(lost).status, setting.job(good).status) == ("queued", "succeeded")


def test_a_job_cancelled_meanwhile_is_not_answered(make_setting: Callable[..., Setting]) -> None:
    """Cancelled while the network computes: nothing is written for it, the others finish."""
    engine = MeddlingEngine()
    setting = make_setting(engine)
    gone, good = setting.film(), setting.film()

    def cancel() -> None:
        with jobs.changing(setting.database) as changes:
            changes.cancel("default", gone, "key:k")

    engine.meddle = cancel
    assert setting.process() == BatchReport(claimed=2, succeeded=1, lost=1)
    assert (setting.job(gone).status, setting.job(gone).result) == ("cancelled", None)
    assert setting.job(good).status == "succeeded"
    assert setting.actions(gone) == ["accepted", "claimed", "cancelled"]


def test_a_film_given_to_another_is_not_answered_twice(make_setting: Callable[..., Setting]) -> None:
    """Its lease ran out and another worker took it: only that one's write counts."""
    engine = MeddlingEngine()
    setting = make_setting(engine)
    job_id = setting.film()

    def take_over() -> None:
        engine.meddle = lambda: None
        with setting.database.begin() as session:
            session.execute(update(Job).values(lease_until=datetime(2020, 1, 1, tzinfo=UTC)))
        with jobs.changing(setting.database) as changes:
            changes.requeue_expired()
        assert [held.attempt for held in claim(setting.database)] == [2]

    engine.meddle = take_over
    assert setting.process() == BatchReport(claimed=1, lost=1)
    assert (setting.job(job_id).status, setting.job(job_id).attempt) == ("running", 2)
    assert setting.actions(job_id) == ["accepted", "claimed", "requeued", "claimed"]


def test_no_transaction_is_open_while_the_network_computes(make_setting: Callable[..., Setting]) -> None:
    """Another connection can write at once: SQLite would refuse if ours still held its lock."""
    engine = MeddlingEngine()
    setting = make_setting(engine)
    setting.film()
    other = Database(make_engine(setting.kitchen.resources.settings.sql_url))
    event.listen(other.engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=0"))
    wrote = []

    def write() -> None:
        with other.begin() as session:
            now = other.now(session)
            sha256 = engine.manifest.weights_sha256
            session.add(
                WorkerHeartbeat(worker="x", queues="", model_sha256=sha256, device="", started_at=now, polled_at=now)
            )
        wrote.append(True)

    engine.meddle = write
    assert setting.process().succeeded == 1
    assert wrote == [True]


def test_leases_are_kept_while_the_network_computes(make_setting: Callable[..., Setting]) -> None:
    """The keeper holds the batch in the middle, and nothing afterwards."""
    engine = MeddlingEngine()
    setting = make_setting(engine)
    job_id = setting.film()
    held: list[bool] = []

    def renew() -> None:
        with setting.database.read() as session:
            before = session.get_one(Job, job_id).lease_until
        setting.kitchen.keeper.tick()
        with setting.database.read() as session:
            after = session.get_one(Job, job_id).lease_until
        held.append(before is not None and after is not None and after > before)

    engine.meddle = renew
    setting.process()
    assert held == [True]
    assert setting.kitchen.keeper._holdings == []


def test_a_flat_film_is_not_assessed(setting: Setting) -> None:
    """The verdict abstains, and its empty map is marked as saying nothing."""
    job_id = setting.film(np.full((64, 64), 128, np.uint8))
    setting.process()
    result = setting.job(job_id).result
    assert result is not None
    assert (result.verdict, result.reasons) == ("not_assessable", ["low_contrast"])
    assert [explanation.is_degenerate for explanation in result.explanations] == [True]
