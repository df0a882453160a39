"""Reviews: the labels that readers give to answered films, beside the model's verdict; one current a job and reader.

Each is written with its audit event in the same transaction, so that a reader's earlier reviews stay in the chain.
Agreement is computed from label and verdict, and stored nowhere. Reading is in `review_queries`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, insert, select, update

from shared import wire
from shared.db.engine import Sql
from shared.db.jobs import JobChanges
from shared.db.keys import Principal
from shared.db.queries import missing
from shared.db.review_queries import COLUMNS, find_reviews, to_wire
from shared.db.tables import AuditEvent, Job, Result, Review, table_of
from shared.domain import BESIDE_LABELS, ReaderLabel
from shared.errors import Conflict, Forbidden, InvalidRequest
from shared.rights import Right

REVIEWED: Final = "reviewed"
"""The audit action."""


def may_review(who: Principal) -> bool:
    """Return whether this key may review."""
    return who.may(Right.REVIEW)


def review(changes: JobChanges, who: Principal, job_id: str, label: ReaderLabel) -> wire.Review:
    """Store this reader's label of a film in place of its earlier one; the same label again changes nothing.

    Raises:
        Forbidden: this key may not review.
        JobNotFound: unknown, of another tenant, or deleted (`JobDeleted`).
        Conflict: the job has no result.
        InvalidRequest: the model knows no such label.
    """
    if not may_review(who):
        raise Forbidden("Only a reviewer's or an admin's key may review films.")
    answer = _lock_answer(changes.sql, who, job_id, label)
    is_own = (Review.job_id == job_id) & (Review.reader == who.key_id)
    current = changes.sql.execute(select(*COLUMNS).where(is_own)).first()
    if current is not None and current.label == label:
        return to_wire(current)
    facts = {**answer, "label": label.value}
    if current is None:
        own = {"job_id": job_id, "reader": who.key_id, "tenant": who.tenant, "created_at": changes.now}
        changes.sql.execute(insert(table_of(Review)), [{**own, **facts}])
    else:
        changes.sql.execute(update(Review).where(is_own).values(**facts, created_at=changes.now))
    changes.record(who.tenant, f"key:{who.key_id}", REVIEWED, job_id, **facts)
    return to_wire(changes.sql.execute(select(*COLUMNS).where(is_own)).one())


def list_reviews(sql: Sql, tenant: str, job_id: str) -> wire.ReviewList:
    """Return the current reviews of one job, the oldest first.

    Raises:
        JobNotFound: unknown, of another tenant, or deleted (`JobDeleted`).
    """
    if sql.scalar(select(Job.id).where(Job.id == job_id, Job.tenant == tenant)) is None:
        raise missing(sql, tenant, job_id)
    return wire.ReviewList(reviews=find_reviews(sql, [job_id]).get(job_id, []))


def _lock_answer(sql: Sql, who: Principal, job_id: str, label: ReaderLabel) -> dict[str, str]:
    """Return the columns that name the reviewed answer, with its result locked against the job's deletion."""
    answer = sql.execute(_ANSWER, {"tenant": who.tenant, "job_id": job_id}).first()
    if answer is None:
        state = sql.scalar(select(Job.state).where(Job.id == job_id, Job.tenant == who.tenant))
        if state is None:
            raise missing(sql, who.tenant, job_id)
        raise Conflict(f"The job is {state} and has no result; only a result can be reviewed.")
    if label not in BESIDE_LABELS and label not in answer.probabilities:
        known = ", ".join(sorted([*answer.probabilities, *BESIDE_LABELS]))
        raise InvalidRequest(f"The model of this verdict has no label {label.value}; use one of: {known}.")
    return {"verdict": answer.verdict, "model_sha256": answer.model_sha256, "result_sha256": answer.hash}


_ANSWER = (
    select(Result.verdict, Result.model_sha256, Result.probabilities, AuditEvent.hash)
    .join(AuditEvent, (AuditEvent.subject == Result.job_id) & (AuditEvent.action == "succeeded"))
    .where(Result.job_id == bindparam("job_id"), Result.tenant == bindparam("tenant"))
    .with_for_update(of=Result)
)
"""The hash is that of the audit event that recorded the result: a digest of the answer and its place in the chain."""
