"""Comparison of jobs' rows with the audit chain: finds a row that was changed without an audit event.

`audit.verify` shows that the chain's events are as they were written; this module shows that the tables agree with
them: a job's owner, digests and state, its result's columns and saliency map, its explanations and standing reviews,
and that no job is gone that nobody deleted. Called by `plainfilm audit verify` and `plainfilm replay`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from shared.db import audit
from shared.db.audit_histories import ExplanationHistory, Facts, JobHistory, read_histories
from shared.db.deletions import DELETED
from shared.db.tables import AuditEvent, Explanation, Job, Result, Review

BATCH: Final = 500
"""Jobs compared at a time."""

MAPS_AT_ONCE: Final = 20
"""Maps of explanations in memory at a time: of 200 kB each."""

NEVER_COMPARED: Final = frozenset({"priority", "attempt"})
"""Facts named like a column: `priority` is a word in the chain and its rank in the row; `attempt` is a
fencing token and no outcome."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A job whose rows do not agree with the chain, and the first disagreement in words."""

    job_id: str
    problem: str


@dataclass(frozen=True, slots=True)
class _StoredExplanation:
    """A row of `explanations`, and the SHA-256 of its map's bytes; None where no map is stored."""

    row: Explanation
    map_sha256: str | None


@dataclass(frozen=True, slots=True)
class _JobRows:
    """All rows of one job."""

    job: Job
    result: Result | None
    reviews: Sequence[Review]
    explanations: Sequence[_StoredExplanation]


def compare(session: Session) -> tuple[int, Difference | None]:
    """Compare all jobs, their results, explanations and reviews with the chain.

    Returns:
        The number of jobs that agree, and the first that does not, if any.
    """
    agreed, after = 0, ""
    while jobs := session.scalars(select(Job).where(Job.id > after).order_by(Job.id).limit(BATCH)).all():
        batch_agreed, difference = _compare_batch(session, jobs)
        agreed += batch_agreed
        if difference:
            return agreed, difference
        after = jobs[-1].id
        session.expunge_all()
    lost = session.scalar(_LOST_JOB)
    return agreed, Difference(lost, "it was accepted and never deleted, and has no row") if lost else None


def compare_one(session: Session, job: Job) -> str | None:
    """Return the first disagreement of one job with the chain in words; None where it agrees."""
    _, difference = _compare_batch(session, [job])
    return difference.problem if difference else None


def _compare_batch(session: Session, jobs: Sequence[Job]) -> tuple[int, Difference | None]:
    """Return the number of these jobs that agree, and the first that does not, if any."""
    histories = read_histories(session, [job.id for job in jobs])
    for agreed, rows in enumerate(_read_rows(session, jobs)):
        problem = _check_job(rows, histories[rows.job.id])
        if problem:
            return agreed, Difference(rows.job.id, problem)
    return len(jobs), None


_DELETION = aliased(AuditEvent)
_LOST_JOB = (
    select(AuditEvent.subject)
    .where(AuditEvent.action == "accepted")
    .where(~select(Job.id).where(Job.id == AuditEvent.subject).exists())
    .where(~select(_DELETION.seq).where(_DELETION.subject == AuditEvent.subject, _DELETION.action == DELETED).exists())
    .limit(1)
)
"""A job with neither a row nor a 'deleted' event. A row of `deleted_jobs` is no excuse: no chain protects it."""


def _read_rows(session: Session, jobs: Sequence[Job]) -> list[_JobRows]:
    job_ids = [job.id for job in jobs]
    reviews, explanations = _read_reviews(session, job_ids), _read_explanations(session, job_ids)
    results = {row.job_id: row for row in session.scalars(select(Result).where(Result.job_id.in_(job_ids)))}
    return [_JobRows(job, results.get(job.id), reviews[job.id], explanations[job.id]) for job in jobs]


def _read_reviews(session: Session, job_ids: Sequence[str]) -> Mapping[str, list[Review]]:
    reviews: dict[str, list[Review]] = defaultdict(list)
    for row in session.scalars(select(Review).where(Review.job_id.in_(job_ids)).order_by(Review.reader)):
        reviews[row.job_id].append(row)
    return reviews


def _read_explanations(session: Session, job_ids: Sequence[str]) -> Mapping[str, list[_StoredExplanation]]:
    is_of_jobs = Explanation.job_id.in_(job_ids)
    maps = select(Explanation.id, Explanation.values).where(is_of_jobs, Explanation.values.is_not(None))
    stored_maps = session.execute(maps.execution_options(yield_per=MAPS_AT_ONCE))
    digests = {explanation_id: hashlib.sha256(values or b"").hexdigest() for explanation_id, values in stored_maps}
    explanations: dict[str, list[_StoredExplanation]] = defaultdict(list)
    for row in session.scalars(select(Explanation).where(is_of_jobs).order_by(Explanation.id)):
        explanations[row.job_id].append(_StoredExplanation(row, digests.get(row.id)))
    return explanations


# Each check returns its first disagreement in words, or None.


def _check_job(rows: _JobRows, history: JobHistory) -> str | None:
    return (
        _check_owner_and_state(rows.job, history)
        or _check_columns(rows.job, {"batch_id": None, **history.facts.get("accepted", {})})
        or _check_result(rows.job, rows.result, history)
        or _check_reviews(rows.reviews, history)
        or _check_explanations(rows.explanations, history)
    )


def _check_owner_and_state(job: Job, history: JobHistory) -> str | None:
    """Check that the chain has the job and no deletion of it, with the same tenant, owner and state."""
    if history.state is None:
        return "the audit does not know it"
    if DELETED in history.facts:
        return "it was deleted, and is there"
    if (job.tenant, f"key:{job.owner}") != (history.stream, history.sent_by):
        recorded = f"{history.stream} and {history.sent_by}"
        return f"it is of {job.tenant} and sent by key:{job.owner}, the audit says {recorded}"
    return None if job.state == history.state else f"it is {job.state}, the audit left it {history.state}"


def _check_columns(row: Job | Result | Explanation, facts: Facts) -> str | None:
    """Check each fact that is named like a column of the row."""
    for name in sorted(set(facts) & set(row.__table__.columns.keys()) - NEVER_COMPARED):
        if getattr(row, name) != facts[name]:
            return f"its {name} is {getattr(row, name)!r}, the audit says {facts[name]!r}"
    return None


def _check_result(job: Job, result: Result | None, history: JobHistory) -> str | None:
    """Check the result with its map, or the error code of a job without one."""
    facts = history.facts.get("succeeded")
    if (result is None) != (facts is None):
        return "it has no result, the audit has one" if result is None else "it has a result, the audit has none"
    if result is None or facts is None:
        return _check_columns(job, history.facts.get("failed", {}))
    if result.tenant != job.tenant:
        return f"its result is of {result.tenant}"
    return _check_columns(result, facts) or _check_result_map(result)


def _check_result_map(result: Result) -> str | None:
    digest = hashlib.sha256(result.saliency).hexdigest()
    return None if digest == result.saliency_sha256 else "its saliency map is not the one that was stored"


def _check_reviews(rows: Sequence[Review], history: JobHistory) -> str | None:
    """Check that each reader's row is the reader's last review in the chain, and that none is missing or extra."""
    unmatched = dict(history.reviews)
    for row in rows:
        facts = unmatched.pop(f"key:{row.reader}", None)
        problem = _check_review(row, facts, history)
        if problem:
            return problem
    return f"it has no review of {min(unmatched)}, the audit has one" if unmatched else None


def _check_review(row: Review, facts: Facts | None, history: JobHistory) -> str | None:
    if facts is None:
        return f"it has a review of {row.reader}, the audit has none"
    if row.tenant != history.stream:
        return f"its review of {row.reader} is of {row.tenant}"
    for name, expected in sorted({**facts, "result_sha256": history.result_event_hash}.items()):
        value = audit.timestamp(row.created_at) if name == "at" else getattr(row, name)
        if value != expected:
            return f"{name} of its review of {row.reader} is {value!r}, the audit says {expected!r}"
    return None


def _check_explanations(stored: Sequence[_StoredExplanation], history: JobHistory) -> str | None:
    """Check that each row is as its events left it, and that none is missing or extra."""
    unmatched = dict(history.explanations)
    for explanation in stored:
        row = explanation.row
        recorded = unmatched.pop(row.id, None)
        problem = (
            _check_explanation(explanation, recorded, history.stream) if recorded else "the audit does not know it"
        )
        if problem:
            return f"its map by {row.method}: {problem}"
    missing = next(iter(unmatched.values()), None)
    return f"its map by {missing.facts['method']}: it has no row" if missing else None


def _check_explanation(stored: _StoredExplanation, history: ExplanationHistory, stream: str | None) -> str | None:
    row, facts = stored.row, dict(history.facts)
    if (row.tenant, f"key:{row.owner}") != (stream, history.requested_by):
        recorded = f"{stream} and {history.requested_by}"
        return f"it is of {row.tenant} and key:{row.owner}, the audit says {recorded}"
    if row.state != history.state:
        return f"it is {row.state}, the audit left it {history.state}"
    quality = facts.pop("quality", {})
    return _check_quality(row, quality) or _check_columns(row, facts) or _check_explanation_map(stored)


def _check_quality(row: Explanation, recorded: Facts) -> str | None:
    quality = row.quality or {}
    for name in sorted(recorded):
        if quality.get(name) != recorded[name]:
            return f"its {name} is {quality.get(name)!r}, the audit says {recorded[name]!r}"
    return None


def _check_explanation_map(stored: _StoredExplanation) -> str | None:
    if stored.map_sha256 == stored.row.values_sha256:
        return None
    return "its bytes are not those that were stored" if stored.map_sha256 else "its bytes are gone"
