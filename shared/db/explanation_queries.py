"""The read side of explanations: the map of the verdict and the requested ones, as wire models. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from shared import wire
from shared.db import tables
from shared.db.engine import Sql
from shared.db.queries import missing
from shared.db.tables import Explanation
from shared.db.worker_queries import alive_since
from shared.domain import EXPLAIN_QUEUE, ExplanationMethod, ExplanationState, JobState
from shared.errors import NotFound

_NO_MAP = "This job has no explanation by that method, or none yet."


@dataclass(frozen=True, slots=True)
class Explainable:
    """The facts of a job that a request for an explanation needs: its state, its most probable label, its model."""

    state: JobState
    label: str | None
    model_sha256: str | None


def get_explainable(session: Session, tenant: str, job_id: str) -> Explainable:
    """Return the facts of a job that a request needs; label and model are None without a result.

    Raises:
        JobNotFound: unknown, or of another tenant.
    """
    state, result = _job_and_result(session, tenant, job_id)
    if result is None:
        return Explainable(state, None, None)
    return Explainable(state, _most_probable(result), result.model_sha256)


def list_explanations(session: Session, tenant: str, job_id: str) -> wire.ExplanationList:
    """Return all explanations of a job, in the order of the methods; none before there is a result.

    Raises:
        JobNotFound: unknown, or of another tenant.
    """
    _, result = _job_and_result(session, tenant, job_id)
    rows = session.scalars(select(Explanation).where(Explanation.job_id == job_id, Explanation.tenant == tenant))
    by_method = {ExplanationMethod(row.method): _to_wire(row) for row in rows}
    if result is not None:
        of_verdict = _of_verdict(result)
        requested = by_method.get(of_verdict.method)
        by_method[of_verdict.method] = of_verdict if requested is None else _judged(of_verdict, requested)
    return wire.ExplanationList(explanations=[by_method[method] for method in ExplanationMethod if method in by_method])


def get_explanation(session: Session, tenant: str, job_id: str, method: str) -> wire.ExplanationDetail:
    """Return one explanation of a job.

    Raises:
        JobNotFound: unknown, or of another tenant.
        NotFound: none by that method was asked for.
    """
    for explanation in list_explanations(session, tenant, job_id).explanations:
        if explanation.method == method:
            return explanation
    raise NotFound(_NO_MAP)


def get_map(session: Session, tenant: str, job_id: str, method: str) -> bytes:
    """Return the raw map by that method, of the verdict or requested; `stored.saliency_from_bytes` decodes it.

    Raises:
        JobNotFound: unknown, or of another tenant.
        NotFound: there is none, or none yet.
    """
    _, result = _job_and_result(session, tenant, job_id)
    if result is not None and result.saliency_method == method:
        return result.saliency
    is_requested = (Explanation.job_id == job_id) & (Explanation.tenant == tenant) & (Explanation.method == method)
    values = session.scalar(select(Explanation.values).where(is_requested))
    if values is None:
        raise NotFound(_NO_MAP)
    return values


def find_id(session: Session, job_id: str, method: ExplanationMethod) -> tuple[str, ExplanationState] | None:
    """Return (explanation id, state) of the explanation of a job by this method, if it was requested."""
    row = session.execute(
        select(Explanation.id, Explanation.state).where(Explanation.job_id == job_id, Explanation.method == method)
    ).first()
    return (row.id, ExplanationState(row.state)) if row else None


def count_waiting(session: Session, tenant: str, most: int) -> int:
    """Return the number of queued explanations of a tenant, counted up to `most`."""
    queued = select(Explanation.id).where(_is_queued(), Explanation.tenant == tenant).limit(most).subquery()
    return session.scalar(select(func.count()).select_from(queued)) or 0


def has_due(sql: Sql, now: datetime, model_sha256: str) -> bool:
    """Return whether one is due for a worker with this model: a read, so that idle workers take no write lock."""
    return _exists(sql, is_due(now, model_sha256))


def is_due(now: datetime, model_sha256: str) -> ColumnElement[bool]:
    """Return the condition of the rows that a worker with this model may claim.

    Those of another model are left to a live worker that has it; where there is none, any worker claims them, and they
    fail with `model_replaced` instead of waiting for ever.
    """
    has_model = tables.WorkerHeartbeat.model_sha256 == Explanation.model_sha256
    is_of_other = select(tables.WorkerHeartbeat.worker).where(_explains(now), has_model).exists()
    is_claimable = (Explanation.model_sha256 == model_sha256) | ~is_of_other
    return _is_queued() & (Explanation.not_before <= now) & is_claimable


def count_live_explainers(session: Session, now: datetime) -> int:
    """Return the number of live workers that make explanations."""
    return session.scalar(select(func.count()).select_from(tables.WorkerHeartbeat).where(_explains(now))) or 0


def is_queued(sql: Sql, explanation_id: str) -> bool:
    """Return whether this explanation is queued."""
    return _exists(sql, _is_queued() & (Explanation.id == explanation_id))


def needs_sweep(session: Session, now: datetime, ring_after_s: float) -> bool:
    """Return whether a lease is over, or a due explanation has had no ring while a live worker makes explanations."""
    unrung = Explanation.last_rung_at < now - timedelta(seconds=ring_after_s)
    is_over = (Explanation.state == ExplanationState.RUNNING) & (Explanation.lease_until < now)
    if _exists(session, is_over):
        return True
    is_silent = _is_queued() & unrung & (Explanation.not_before <= now)
    return _exists(session, is_silent) and count_live_explainers(session, now) > 0


def _explains(now: datetime) -> ColumnElement[bool]:
    is_alive = tables.WorkerHeartbeat.polled_at > alive_since(now)
    return is_alive & tables.WorkerHeartbeat.queues.contains(EXPLAIN_QUEUE)


def _exists(sql: Sql, rule: ColumnElement[bool]) -> bool:
    return sql.scalar(select(Explanation.id).where(rule).limit(1)) is not None


def _is_queued() -> ColumnElement[bool]:
    return Explanation.state == ExplanationState.QUEUED


def _job_and_result(session: Session, tenant: str, job_id: str) -> tuple[JobState, tables.Result | None]:
    row = session.execute(
        select(tables.Job.state, tables.Result)
        .outerjoin(tables.Result, tables.Result.job_id == tables.Job.id)
        .where(tables.Job.id == job_id, tables.Job.tenant == tenant)
    ).first()
    if row is None:
        raise missing(session, tenant, job_id)
    return JobState(row[0]), row[1]


def _most_probable(result: tables.Result) -> str:
    return max(result.probabilities, key=lambda label: result.probabilities[label])


def _judged(of_verdict: wire.ExplanationDetail, requested: wire.ExplanationDetail) -> wire.ExplanationDetail:
    """Return the verdict's map with state and measures of the requested explanation; the map itself always exists."""
    kept = of_verdict.model_dump(include={"sha256", "border_share", "is_degenerate"})
    return requested.model_copy(update={**kept, "seed": None})


def _of_verdict(result: tables.Result) -> wire.ExplanationDetail:
    """Return the map that came with the verdict as an explanation that was not measured yet."""
    return wire.ExplanationDetail(
        method=ExplanationMethod(result.saliency_method),
        status=ExplanationState.SUCCEEDED,
        done=True,
        label=_most_probable(result),
        seed=None,
        parameters={},
        model_sha256=result.model_sha256,
        attempt=result.attempt,
        created_at=result.created_at,
        started_at=None,
        finished_at=result.created_at,
        href=_href(result.job_id, result.saliency_method),
        sha256=result.saliency_sha256,
        border_share=result.border_share,
        is_degenerate=result.is_degenerate,
        degenerate_reason=None,
        quality=None,
        error=None,
    )


def _to_wire(row: Explanation) -> wire.ExplanationDetail:
    state, judged = ExplanationState(row.state), row.quality or {}
    has_failed = state is ExplanationState.FAILED
    measured = {name: judged.get(name) for name in wire.MapQuality.model_fields} if judged else None
    return wire.ExplanationDetail(
        method=ExplanationMethod(row.method),
        status=state,
        done=state.is_terminal,
        label=row.label,
        seed=row.seed,
        parameters=row.parameters,
        model_sha256=row.model_sha256,
        attempt=row.attempt,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        href=_href(row.job_id, row.method),
        sha256=row.values_sha256,
        border_share=cast("float | None", judged.get("border_share")),
        is_degenerate=cast("bool | None", judged.get("is_degenerate")),
        degenerate_reason=cast("str | None", judged.get("degenerate_reason")),
        quality=wire.MapQuality.model_validate(measured) if measured else None,
        error=wire.JobError.of(row.error_code or "", row.error_detail or "") if has_failed else None,
    )


def _href(job_id: str, method: str) -> str:
    return f"/api/v1/jobs/{job_id}/explanations/{method}"
