"""The use case "request an explanation": one per job and method, committed before its ring. Knows no Flask."""

from __future__ import annotations

from typing import Final

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shared import wire
from shared.db import explanation_queries, explanations
from shared.db.explanation_queries import Explainable
from shared.db.keys import Principal
from shared.domain import ExplanationMethod, ExplanationState
from shared.errors import NotExplainable, TenantQueueFull
from shared.wiring import Resources
from web.offload import read, run_sql

SEED: Final = 0
"""Seed of every random draw: the same film, model and method always give the same map."""

MOST_WAITING: Final = 200
"""Most waiting maps of a tenant; the slow methods take a worker seconds each."""
ASK_AGAIN_S: Final = 10


def ask(resources: Resources, who: Principal, job_id: str, method: ExplanationMethod, request_id: str) -> None:
    """Request a map, unless there is one or one is being made; a failed one is retried.

    Raises:
        JobNotFound: unknown, or of another tenant.
        NotExplainable: the job has no result.
        TenantQueueFull: too many of the tenant's maps wait.
        Unavailable: the database is away.
    """

    def change() -> str | None:
        try:
            return _accept(resources, who, job_id, method, request_id)
        except IntegrityError:  # a concurrent request inserted it, and rings for it
            return None

    accepted = run_sql(resources.database, change)
    if accepted is not None:
        resources.queue.explain(accepted)


def get_all(resources: Resources, who: Principal, job_id: str) -> wire.ExplanationList:
    """Return the explanations of a job.

    Raises:
        JobNotFound: unknown, or of another tenant.
    """
    return read(resources.database, lambda sql: explanation_queries.list_explanations(sql, who.tenant, job_id))


def get_one(resources: Resources, who: Principal, job_id: str, method: str) -> wire.ExplanationDetail:
    """Return the explanation of a job by one method.

    Raises:
        JobNotFound: unknown, or of another tenant.
        NotFound: none by that method was requested.
    """
    return read(resources.database, lambda sql: explanation_queries.get_explanation(sql, who.tenant, job_id, method))


def _accept(
    resources: Resources, who: Principal, job_id: str, method: ExplanationMethod, request_id: str
) -> str | None:
    """Insert or retry an explanation; return its id, or None if there is nothing to do."""
    with explanations.changing(resources.database) as changes:
        job = explanation_queries.get_explainable(changes.sql, who.tenant, job_id)
        earlier = explanation_queries.find_id(changes.sql, job_id, method)
        if earlier is not None and earlier[1] is not ExplanationState.FAILED:
            return None
        _check_queue(changes.sql, who.tenant)
        if earlier is None:
            new = _new(resources, who, job_id, method, job, request_id)
            changes.insert_queued(new)
            return new.id
        failed_id, _ = earlier
        is_asked = changes.ask_again(failed_id, who.key_id, resources.settings.max_attempts, request_id)
        return failed_id if is_asked else None


def _check_queue(session: Session, tenant: str) -> None:
    """Limit a tenant's waiting maps: a map takes seconds, and those of all tenants wait in one queue.

    Raises:
        TenantQueueFull: the tenant has `MOST_WAITING`.
    """
    if explanation_queries.count_waiting(session, tenant, MOST_WAITING) >= MOST_WAITING:
        detail = f"{MOST_WAITING} heatmaps of yours wait already, which is the limit; ask again when some are made."
        raise TenantQueueFull(detail, ASK_AGAIN_S)


def _new(  # noqa: PLR0913, PLR0917  each is a fact of the row
    resources: Resources, who: Principal, job_id: str, method: ExplanationMethod, job: Explainable, request_id: str
) -> explanations.NewExplanation:
    if job.label is None or job.model_sha256 is None:
        raise NotExplainable(f"The job is {job.state.value} and has no result; only a result can be explained.")
    return explanations.NewExplanation(
        id=resources.new_id(),
        tenant=who.tenant,
        owner=who.key_id,
        job_id=job_id,
        method=method,
        label=job.label,
        seed=SEED,
        model_sha256=job.model_sha256,
        max_attempts=resources.settings.max_attempts,
        request_id=request_id,
    )
