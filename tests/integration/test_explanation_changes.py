"""The explanation's state machine on SQLite and on a real PostgreSQL: requests, claims, fences, leases, audit."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from shared.db import audit, explanation_queries, explanations
from shared.db.engine import Database
from shared.db.tables import AuditEvent, Explanation, WorkerHeartbeat
from shared.domain import ExplanationState
from shared.errors import JobNotFound, LeaseLost, NotFound
from shared.imaging import stored
from tests.explanations import (
    add_explainer,
    explain,
    fail_explanation,
    make_explanation,
    make_map_record,
    make_result,
    take,
)
from tests.fakes import FixedClock, make_manifest
from tests.jobs import claim, make_job, register_model

pytestmark = pytest.mark.integration


def state_of(database: Database, explanation_id: str) -> tuple[str, int]:
    """(state, attempt)."""
    with database.read() as session:
        row = session.get_one(Explanation, explanation_id)
        return row.state, row.attempt


def actions(database: Database, job_id: str) -> list[str]:
    """The audit trail of a job, after its verdict."""
    with database.read() as session:
        statement = select(AuditEvent.action).where(AuditEvent.subject == job_id).order_by(AuditEvent.seq)
        trail = list(session.scalars(statement))
    assert trail[:3] == ["accepted", "claimed", "succeeded"]
    return trail[3:]


def requeue(database: Database) -> list[tuple[str, ExplanationState]]:
    """What the sweeper does."""
    with explanations.changing(database) as changes:
        return changes.requeue_expired()


def test_an_explanation_goes_from_queued_to_done_with_one_event_a_step(database: Database) -> None:
    """Requested, claimed, explained; the map and its numbers are read back as they were; the chain holds."""
    job_id = make_result(database, blob_ref="default/film/x")
    made = make_explanation(database, job_id)
    order = take(database)
    assert order is not None
    assert (order.held.id, order.job_id, order.held.attempt, order.held.blob_ref) == (made, job_id, 1, "default/film/x")
    assert (order.label, order.preprocessing, order.verdict_map) == ("normal", "grey_window_v1", None)
    with explanations.changing(database) as changes:
        changes.finish(order.held, "w1", make_map_record())
    assert state_of(database, made) == ("succeeded", 1)
    assert actions(database, job_id) == ["explanation_requested", "explanation_claimed", "explained"]
    with database.read() as session:
        found = explanation_queries.get_explanation(session, "default", job_id, "gradient")
        raw = explanation_queries.get_map(session, "default", job_id, "gradient")
        assert audit.verify(session) == (6, None)
    assert stored.saliency_from_bytes(raw).shape == (16, 16)
    assert found.quality is not None
    assert (found.quality.deletion_auc, found.quality.stability, found.border_share) == (0.31, None, 0.25)


def test_a_job_has_one_explanation_a_method(database: Database) -> None:
    """The second row of a method is refused by the database; one of another method is not."""
    job_id = make_result(database)
    make_explanation(database, job_id)
    make_explanation(database, job_id, method="smooth_grad")
    with pytest.raises(IntegrityError):
        make_explanation(database, job_id)


@pytest.mark.parametrize("method", ["guess", ""])
def test_only_known_methods_and_jobs_with_a_result_have_a_row(database: Database, method: str) -> None:
    """The database itself refuses what the API would refuse."""
    job_id = make_result(database)
    with pytest.raises(IntegrityError), database.begin() as session:
        session.add(
            Explanation(**(columns(database, make_explanation(database, job_id)) | {"id": "x", "method": method}))
        )
    with pytest.raises(IntegrityError):
        make_explanation(database, make_job(database))


def columns(database: Database, explanation_id: str) -> dict[str, object]:
    """A row's columns, but for the map."""
    with database.read() as session:
        row = session.get_one(Explanation, explanation_id)
        names = [column.key for column in Explanation.__table__.columns if column.key != "values"]
        return {name: getattr(row, name) for name in names}


def test_the_verdicts_map_is_there_before_and_while_it_is_judged(database: Database) -> None:
    """Grad-CAM needs no request; asked for, it is given to the worker to be judged, and stays the same map."""
    job_id = make_result(database)

    def read() -> tuple[bytes, str | None, ExplanationState, bool]:
        with database.read() as session:
            found = explanation_queries.get_explanation(session, "default", job_id, "grad_cam")
            raw = explanation_queries.get_map(session, "default", job_id, "grad_cam")
        return raw, found.sha256, found.status, found.quality is not None

    raw, sha256, *rest = read()
    assert rest == [ExplanationState.SUCCEEDED, False]
    make_explanation(database, job_id, method="grad_cam")
    assert read() == (raw, sha256, ExplanationState.QUEUED, False)
    order = take(database)
    assert order is not None
    assert order.verdict_map == raw
    with explanations.changing(database) as changes:
        changes.finish(order.held, "w1", make_map_record())
    assert read() == (raw, sha256, ExplanationState.SUCCEEDED, True)


def test_the_oldest_is_taken_first_and_once(database: Database, clock: FixedClock) -> None:
    """First come, first served; nothing is left for a third."""
    job_id = make_result(database)
    made = []
    for method in ("smooth_grad", "gradient"):
        made.append(make_explanation(database, job_id, method=method))
        clock.advance(1)
    taken = [take(database), take(database)]
    assert [order.held.id for order in taken if order] == made
    assert take(database) is None


def test_two_workers_never_take_the_same(database: Database) -> None:
    """Eight threads, five methods: five orders, all different."""
    job_id = make_result(database)
    methods = ("grad_cam", "grad_cam_plus_plus", "smooth_grad", "integrated_gradients", "gradient")
    made = {make_explanation(database, job_id, method=method) for method in methods}
    taken: list[str] = []

    def work(worker: str) -> None:
        order = take(database, worker=worker)
        if order is not None:
            taken.append(order.held.id)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while (order := take(database)) is not None:  # a lock that was held is skipped
        taken.append(order.held.id)
    assert sorted(taken) == sorted(made)


def test_the_request_of_a_dead_worker_comes_back(database: Database, clock: FixedClock) -> None:
    """Lease over: queued again, and the late worker's write is refused; the second attempt's counts."""
    job_id = make_result(database)
    made = make_explanation(database, job_id)
    late = take(database, worker="dead")
    assert late is not None
    clock.advance(19)
    assert requeue(database) == []
    clock.advance(2)
    assert requeue(database) == [(made, ExplanationState.QUEUED)]
    with explanations.changing(database) as changes:
        assert changes.renew([late.held], 20.0) == []
    assert explain(database).held.attempt == 2
    with pytest.raises(LeaseLost), explanations.changing(database) as changes:
        changes.finish(late.held, "dead", make_map_record())
    assert state_of(database, made) == ("succeeded", 2)
    assert actions(database, job_id) == [
        "explanation_requested",
        "explanation_claimed",
        "explanation_requeued",
        "explanation_claimed",
        "explained",
    ]


def test_a_late_worker_changes_nothing_while_another_attempt_runs(database: Database, clock: FixedClock) -> None:
    """Neither result, failure, return nor lease: the row is the second attempt's alone."""
    job_id = make_result(database)
    made = make_explanation(database, job_id)
    late = take(database, worker="dead")
    assert late is not None
    clock.advance(21)
    requeue(database)
    second = take(database)
    assert second is not None
    before = actions(database, job_id)
    for write in (
        lambda changes: changes.finish(late.held, "dead", make_map_record()),
        lambda changes: changes.fail(late.held, "worker:dead", "blob_missing", "gone"),
        lambda changes: changes.retry(late.held, "worker:dead", "explanation_failed", 0.0),
    ):
        with pytest.raises(LeaseLost), explanations.changing(database) as changes:
            write(changes)
    with explanations.changing(database) as changes:
        assert changes.renew([late.held], 20.0) == []
        assert changes.renew([second.held], 20.0) == [second.held]
    assert (state_of(database, made), actions(database, job_id)) == (("running", 2), before)


def test_a_renewed_lease_is_left_alone(database: Database, clock: FixedClock) -> None:
    """However long it computes."""
    make_explanation(database, make_result(database))
    order = take(database)
    assert order is not None
    for _ in range(3):
        clock.advance(15)
        with explanations.changing(database) as changes:
            assert changes.renew([order.held], 20.0) == [order.held]
        assert requeue(database) == []


def test_attempts_are_bounded_until_somebody_asks_again(database: Database, clock: FixedClock) -> None:
    """Three dead workers: poisoned; asked again there are three attempts more, and the fence goes on counting."""
    job_id = make_result(database)
    made = make_explanation(database, job_id)
    for _ in range(3):
        assert take(database) is not None
        clock.advance(21)
        requeue(database)
    assert state_of(database, made) == ("failed", 3)
    assert take(database) is None
    with database.read() as session:
        failed = explanation_queries.get_explanation(session, "default", job_id, "gradient")
    assert failed.error is not None
    assert (failed.error.code, failed.done) == ("poisoned", True)
    with explanations.changing(database) as changes:
        assert changes.ask_again(made, "testkey", 3, "request")
        assert not changes.ask_again(made, "testkey", 3, "request")
    again = take(database)
    assert again is not None
    assert (again.held.attempt, again.held.max_attempts) == (4, 6)


def test_a_failure_has_its_code_and_no_map(database: Database) -> None:
    """And is one event."""
    job_id = make_result(database)
    make_explanation(database, job_id)
    fail_explanation(database)
    with database.read() as session:
        found = explanation_queries.get_explanation(session, "default", job_id, "gradient")
        with pytest.raises(NotFound):
            explanation_queries.get_map(session, "default", job_id, "gradient")
    assert found.error is not None
    assert (found.status, found.error.code, found.sha256) == (ExplanationState.FAILED, "model_replaced", None)
    assert actions(database, job_id)[-1] == "explanation_failed"


def test_a_failed_attempt_waits_a_little(database: Database, clock: FixedClock) -> None:
    """Put back with a delay, it is due only after it."""
    made = make_explanation(database, make_result(database))
    order = take(database)
    assert order is not None
    with explanations.changing(database) as changes:
        assert changes.retry(order.held, "worker:w1", "explanation_failed", 5.0) is ExplanationState.QUEUED
    assert take(database) is None
    clock.advance(6)
    assert take(database) is not None
    assert state_of(database, made) == ("running", 2)


def test_what_was_not_rung_is_named_once(database: Database, clock: FixedClock) -> None:
    """After its silence, and not again before the next."""
    made = make_explanation(database, make_result(database))

    def unrung() -> list[str]:
        with explanations.changing(database) as changes:
            return changes.mark_rung(10.0, 5)

    assert unrung() == []
    clock.advance(11)
    with database.read() as session:
        assert not explanation_queries.needs_sweep(session, clock.now, 10.0)  # nobody would make it
    add_explainer(database)
    with database.read() as session:
        assert explanation_queries.needs_sweep(session, clock.now, 10.0)
    assert [unrung(), unrung()] == [[made], []]


def test_another_tenant_sees_nothing(database: Database) -> None:
    """Neither the list nor a map, as if there were no job."""
    job_id = make_result(database)
    make_explanation(database, job_id)
    explain(database)
    with database.read() as session:
        with pytest.raises(JobNotFound):
            explanation_queries.list_explanations(session, "clinic", job_id)
        for method in ("gradient", "grad_cam"):
            with pytest.raises(JobNotFound):
                explanation_queries.get_map(session, "clinic", job_id, method)


def test_a_list_reads_no_maps(database: Database) -> None:
    """The large column is left where it is; only reading it by name brings it."""
    job_id = make_result(database)
    make_explanation(database, job_id)
    explain(database)
    with database.read() as session:
        row = session.scalars(select(Explanation)).one()
        with pytest.raises(Exception, match="raiseload"):
            row.values  # noqa: B018  reading it is the test
        assert np.isfinite(stored.saliency_from_bytes(session.scalars(select(Explanation.values)).one())).all()


def test_films_and_explanations_are_claimed_apart(database: Database) -> None:
    """A claim of films takes no explanation, and the other way round."""
    make_explanation(database, make_result(database))
    assert claim(database) == []
    make_job(database)
    assert take(database) is not None
    assert take(database) is None


def beat(database: Database, *, model_sha256: str, queues: str = "stat,explain") -> None:
    """A worker's sign of life now."""
    with database.begin() as session:
        now = database.now(session)
        session.merge(WorkerHeartbeat(worker="other", queues=queues, model_sha256=model_sha256, device="cpu",
                                      started_at=now, polled_at=now))  # fmt: skip


def test_a_map_is_left_to_a_living_worker_with_its_model(database: Database, clock: FixedClock) -> None:
    """Two models serve for a while: each explains its own films. Without such a worker anybody takes it, to refuse."""
    made = make_explanation(database, make_result(database))
    mine = make_manifest().weights_sha256
    beat(database, model_sha256=mine)

    def is_due() -> bool:
        with database.read() as session:
            return explanation_queries.has_due(session, clock.now, "e" * 64)

    assert not is_due()
    assert take(database, model_sha256="e" * 64) is None
    beat(database, model_sha256=mine, queues="stat,routine,bulk")
    assert is_due()
    beat(database, model_sha256=mine)
    clock.advance(60)
    assert is_due()
    order = take(database, model_sha256="e" * 64)
    assert order is not None
    assert (order.held.id, order.model_sha256) == (made, mine)


def test_workers_that_explain_are_counted(database: Database, clock: FixedClock) -> None:
    """The living ones that say so."""
    counts = []
    for queues in ("stat,routine,bulk", "explain", "stat,routine,bulk,explain"):
        beat(database, model_sha256=register_model(database), queues=queues)
        with database.read() as session:
            counts.append(explanation_queries.count_live_explainers(session, clock.now))
    clock.advance(60)
    with database.read() as session:
        counts.append(explanation_queries.count_live_explainers(session, clock.now))
    assert counts == [0, 1, 1, 0]
