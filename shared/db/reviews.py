"""Reviews: what readers see in films that were answered, beside what the model said; one a job and reader stands.

Each is written with its audit event in the same transaction, so that what a reader said before stays in the chain.
Whether one agrees is worked out from its label and its verdict, and stored nowhere. Reading is in `review_queries`.
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
    """Whether this key may say what it sees."""
    return who.may(Right.REVIEW)


def review(changes: JobChanges, who: Principal, job_id: str, label: ReaderLabel) -> wire.Review:
    """Keep what this reader sees; it takes the place of what the same one said before. The same again changes nothing.

    Raises:
        Forbidden: this key may not review.
        JobNotFound: unknown, of another tenant, or deleted (`JobDeleted`).
        Conflict: the job has no result.
        InvalidRequest: the model knows no such label.
    """
    if not may_review(who):
        raise Forbidden("Only a reviewer's key, or an admin's, may say what it sees in a film.")
    said = _said_of(changes.sql, who, job_id, label)
    mine = (Review.job_id == job_id) & (Review.reader == who.key_id)
    standing = changes.sql.execute(select(*COLUMNS).where(mine)).first()
    if standing is not None and standing.label == label:
        return to_wire(standing)
    facts = {**said, "label": label.value}
    if standing is None:
        own = {"job_id": job_id, "reader": who.key_id, "tenant": who.tenant, "created_at": changes.now}
        changes.sql.execute(insert(table_of(Review)), [{**own, **facts}])
    else:
        changes.sql.execute(update(Review).where(mine).values(**facts, created_at=changes.now))
    changes.record(who.tenant, f"key:{who.key_id}", REVIEWED, job_id, **facts)
    return to_wire(changes.sql.execute(select(*COLUMNS).where(mine)).one())


def list_reviews(sql: Sql, tenant: str, job_id: str) -> wire.ReviewList:
    """The reviews of one job that stand, the oldest first.

    Raises:
        JobNotFound: unknown, of another tenant, or deleted (`JobDeleted`).
    """
    if sql.scalar(select(Job.id).where(Job.id == job_id, Job.tenant == tenant)) is None:
        raise missing(sql, tenant, job_id)
    return wire.ReviewList(reviews=find_reviews(sql, [job_id]).get(job_id, []))


def _said_of(sql: Sql, who: Principal, job_id: str, label: ReaderLabel) -> dict[str, str]:
    """The answer that is reviewed, locked against the job's deletion."""
    found = sql.execute(_ANSWER, {"tenant": who.tenant, "job_id": job_id}).first()
    if found is None:
        state = sql.scalar(select(Job.state).where(Job.id == job_id, Job.tenant == who.tenant))
        if state is None:
            raise missing(sql, who.tenant, job_id)
        raise Conflict(f"The job is {state} and has no result; only a result can be reviewed.")
    if label not in BESIDE_LABELS and label not in found.probabilities:
        known = ", ".join(sorted([*found.probabilities, *BESIDE_LABELS]))
        raise InvalidRequest(f"The model that read this film does not know {label.value}; one of: {known}.")
    return {"verdict": found.verdict, "model_sha256": found.model_sha256, "result_sha256": found.hash}


_ANSWER = (
    select(Result.verdict, Result.model_sha256, Result.probabilities, AuditEvent.hash)
    .join(AuditEvent, (AuditEvent.subject == Result.job_id) & (AuditEvent.action == "succeeded"))
    .where(Result.job_id == bindparam("job_id"), Result.tenant == bindparam("tenant"))
    .with_for_update(of=Result)
)
"""With the hash of the audit event that recorded it: the digest of all that was answered, and of its place."""
