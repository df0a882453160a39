"""Conversion of rows of the jobs' queries to the API's jobs. Reads no database; called by `queries` alone."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from shared import wire
from shared.domain import JobState, Priority, Verdict

JobRow = Row[*tuple[Any, ...]]  # Any: of `queries`, each column of its own type


def to_wire(job: JobRow, position: int | None) -> wire.Job:
    """Return the job, with its result if it has one; `position` is the number of films ahead of it, where known."""
    has_result = job.verdict is not None
    has_failed = job.state == JobState.FAILED
    return wire.Job(
        id=job.id,
        status=JobState(job.state),
        done=JobState(job.state).is_terminal,
        priority=Priority.of_rank(job.priority),
        queue_position=position,
        attempt=job.attempt,
        cached=job.state == JobState.SUCCEEDED and job.attempt == 0,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        expires_at=job.expires_at,
        batch_id=job.batch_id,
        input=_input(job),
        model=_model_ref(job) if has_result else None,
        result=_result(job) if has_result else None,
        error=wire.JobError.of(job.error_code or "", job.error_detail or "") if has_failed else None,
        links=_links(job.id),
    )


def _links(job_id: str) -> wire.Links:
    own = f"/api/v1/jobs/{job_id}"
    return wire.Links(
        self=own,
        film=f"{own}/film",
        page=f"/jobs/{job_id}",
        events=f"{own}/events",
        explanations=f"{own}/explanations",
        cancel=f"{own}/cancel",
        audit=f"{own}/audit",
        again=f"{own}/again",
    )


def _input(job: JobRow) -> wire.Input:
    return wire.Input(
        sha256=job.input_sha256,
        pixels_sha256=job.pixels_sha256,
        kind=job.kind,
        width_px=job.width_px,
        height_px=job.height_px,
        bit_depth=job.bit_depth,
    )


def _model_ref(job: JobRow) -> wire.ModelRef:
    return wire.ModelRef(name=job.name, version=job.version, sha256=job.weights_sha256, preprocessing=job.preprocessing)


def _result(job: JobRow) -> wire.Result:
    explanation = wire.Explanation(
        method=job.saliency_method,
        href=f"/api/v1/jobs/{job.id}/explanations/{job.saliency_method}",
        sha256=job.saliency_sha256,
        border_share=job.border_share,
        is_degenerate=job.is_degenerate,
    )
    seq = job._mapping.get("receipt_seq")  # noqa: SLF001  SQLAlchemy's public name; a list's rows have none
    return wire.Result(
        verdict=Verdict(job.verdict),
        probabilities=job.probabilities,
        other_probability=job.other_probability,
        prediction_set=job.prediction_set,
        reasons=job.reasons,
        explanations=[explanation],
        device=job.device,
        code_version=job.code_version,
        receipt=None if seq is None else wire.Receipt(seq=seq, hash=job.receipt_hash),
    )
