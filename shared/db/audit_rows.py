"""Do jobs and results say what the audit says of them? Who changes a row and leaves the chain alone is found here.

The chain shows that its events are as they were written (`audit.verify`); this, that the tables agree with them: a
job's digests and state, its result's columns and saliency map, the maps of it that were asked for, the reviews of it
that stand, and that no job is gone that nobody deleted.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from shared.db import audit
from shared.db.deletions import DELETED
from shared.db.reviews import REVIEWED
from shared.db.tables import AuditEvent, Explanation, Job, Result, Review
from shared.domain import STATE_AFTER, ExplanationState

BATCH: Final = 500
"""Jobs compared at a time."""

MAPS_AT_ONCE: Final = 20
"""Maps of explanations in memory at a time: of 200 kB each."""

Facts = Mapping[str, Any]  # Any: JSON

MAP_STATE_AFTER: Final[Mapping[str, ExplanationState]] = MappingProxyType(
    {
        "explanation_requested": ExplanationState.QUEUED,
        "explanation_claimed": ExplanationState.RUNNING,
        "explained": ExplanationState.DONE,
        "explanation_requeued": ExplanationState.QUEUED,
        "explanation_failed": ExplanationState.FAILED,
    }
)
"""How each audit action leaves an explanation."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that does not say what the audit says."""

    job_id: str
    problem: str


@dataclass(slots=True)
class _ToldMap:
    """What the audit says of one explanation: who asked first, how it was left, and the facts of all its events."""

    asked_by: str
    state: ExplanationState = ExplanationState.QUEUED
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Told:
    """What the audit says of one job: facts by action, the last of each; who sent it, whose it is, how it was left.

    And of each reader what was said last and when, the hash of the event that recorded the result, and its
    explanations by their ids.
    """

    facts: dict[str, Facts] = field(default_factory=dict)
    state: str | None = None
    sent_by: str | None = None
    stream: str | None = None
    answer: str | None = None
    reviews: dict[str, Facts] = field(default_factory=dict)
    maps: dict[str, _ToldMap] = field(default_factory=dict)


def compare(session: Session) -> tuple[int, Difference | None]:
    """Hold all jobs, their results, maps and reviews against the audit.

    Returns:
        How many jobs agree, and the first that does not, if any.
    """
    agreed, after = 0, ""
    while jobs := session.scalars(select(Job).where(Job.id > after).order_by(Job.id).limit(BATCH)).all():
        held, difference = _compare(session, jobs)
        agreed += held
        if difference:
            return agreed, difference
        after = jobs[-1].id
        session.expunge_all()
    lost = session.scalar(_LOST)
    return agreed, Difference(lost, "it was accepted and never deleted, and has no row") if lost else None


def compare_one(session: Session, job: Job) -> str | None:
    """What of one job is otherwise than the audit says, if anything."""
    _, difference = _compare(session, [job])
    return difference.problem if difference else None


def _compare(session: Session, jobs: Sequence[Job]) -> tuple[int, Difference | None]:
    """How many of these agree, and the first that does not."""
    ids = [job.id for job in jobs]
    told, reviews, maps = _read(session, ids), _find_reviews(session, ids), _find_maps(session, ids)
    results = {row.job_id: row for row in session.scalars(select(Result).where(Result.job_id.in_(ids)))}
    for agreed, job in enumerate(jobs):
        said = told[job.id]
        problem = (
            _problem(job, results.get(job.id), said)
            or _review_differs(reviews[job.id], said)
            or _maps_differ(maps[job.id], said)
        )
        if problem:
            return agreed, Difference(job.id, problem)
    return len(jobs), None


_OTHER = aliased(AuditEvent)
_LOST = (
    select(AuditEvent.subject)
    .where(AuditEvent.action == "accepted")
    .where(~select(Job.id).where(Job.id == AuditEvent.subject).exists())
    .where(~select(_OTHER.seq).where(_OTHER.subject == AuditEvent.subject, _OTHER.action == DELETED).exists())
    .limit(1)
)
"""By the chain alone: a note of a deletion is no event."""


def _read(session: Session, job_ids: Sequence[str]) -> dict[str, _Told]:
    told: dict[str, _Told] = defaultdict(_Told)
    rows = session.execute(
        select(
            AuditEvent.stream, AuditEvent.subject, AuditEvent.actor, AuditEvent.action, AuditEvent.body, AuditEvent.hash
        )
        .where(AuditEvent.subject.in_(job_ids))
        .order_by(AuditEvent.stream, AuditEvent.seq)
    )
    for stream, subject, actor, action, body, own_hash in rows:
        of_job, said = told[subject], json.loads(body)
        of_job.facts[action] = said["facts"]
        if action in STATE_AFTER:
            of_job.state = STATE_AFTER[action]
        if action == "accepted":
            of_job.sent_by, of_job.stream = actor, stream
        elif action == "succeeded":
            of_job.answer = own_hash
        elif action == REVIEWED:
            of_job.reviews[actor] = {**said["facts"], "at": said["at"]}
        elif action in MAP_STATE_AFTER:
            _note_map(of_job, actor, action, said["facts"])
    return told


def _note_map(told: _Told, actor: str, action: str, facts: Facts) -> None:
    """Of those who asked the first counts, since the row keeps what it was asked for with; else what came last."""
    found = told.maps.setdefault(facts["explanation"], _ToldMap(actor))
    found.state = MAP_STATE_AFTER[action]
    is_asked = found.state is ExplanationState.QUEUED and action != "explanation_requeued"
    found.facts = {**facts, **found.facts} if is_asked else {**found.facts, **facts}
    found.facts["error_code"] = facts["error_code"] if found.state is ExplanationState.FAILED else None


def _find_reviews(session: Session, job_ids: Sequence[str]) -> dict[str, list[Review]]:
    found: dict[str, list[Review]] = defaultdict(list)
    for row in session.scalars(select(Review).where(Review.job_id.in_(job_ids)).order_by(Review.reader)):
        found[row.job_id].append(row)
    return found


def _find_maps(session: Session, job_ids: Sequence[str]) -> dict[str, list[tuple[Explanation, str | None]]]:
    """Explanations by job, each with the SHA-256 of its map's bytes."""
    theirs = Explanation.job_id.in_(job_ids)
    maps = select(Explanation.id, Explanation.values).where(theirs, Explanation.values.is_not(None))
    stored = session.execute(maps.execution_options(yield_per=MAPS_AT_ONCE))
    digests = {explanation_id: hashlib.sha256(values or b"").hexdigest() for explanation_id, values in stored}
    found: dict[str, list[tuple[Explanation, str | None]]] = defaultdict(list)
    for row in session.scalars(select(Explanation).where(theirs).order_by(Explanation.id)):
        found[row.job_id].append((row, digests.get(row.id)))
    return found


def _problem(job: Job, result: Result | None, told: _Told) -> str | None:
    """What is first found to be otherwise, if anything."""
    accepted, answered = told.facts.get("accepted", {}), told.facts.get("succeeded")
    found = _stands_otherwise(job, told) or _differs(job, {"batch_id": None, **accepted})
    if found:
        return found
    if (result is None) != (answered is None):
        return "it has no result, the audit has one" if result is None else "it has a result, the audit has none"
    if result is None:
        return _differs(job, told.facts.get("failed", {}))
    if result.tenant != job.tenant:
        return f"its result is of {result.tenant}"
    return _differs(result, answered or {}) or _map_differs(result)


def _stands_otherwise(job: Job, told: _Told) -> str | None:
    """Whether there is such a job, whose it is, and in which state."""
    if told.state is None:
        return "the audit does not know it"
    if DELETED in told.facts:
        return "it was deleted, and is there"
    if (job.tenant, f"key:{job.owner}") != (told.stream, told.sent_by):
        return f"it is of {job.tenant} and sent by key:{job.owner}, the audit says {told.stream} and {told.sent_by}"
    return None if job.state == told.state else f"it is {job.state}, the audit left it {told.state}"


def _differs(row: Job | Result | Explanation, facts: Facts) -> str | None:
    """The first of the facts that is a column of the row and another there."""
    for name in sorted(set(facts) & set(row.__table__.columns.keys()) - {"priority", "attempt"}):
        if getattr(row, name) != facts[name]:
            return f"its {name} is {getattr(row, name)!r}, the audit says {facts[name]!r}"
    return None


def _review_differs(rows: Iterable[Review], told: _Told) -> str | None:
    """The first review that is not what its reader said last, by the audit; or that is there in one of both alone."""
    unseen = dict(told.reviews)
    for row in rows:
        said = unseen.pop(f"key:{row.reader}", None)
        if said is None:
            return f"it has a review of {row.reader}, the audit has none"
        if row.tenant != told.stream:
            return f"its review of {row.reader} is of {row.tenant}"
        for name, expected in sorted({**said, "result_sha256": told.answer}.items()):
            found = audit.timestamp(row.created_at) if name == "at" else getattr(row, name)
            if found != expected:
                return f"{name} of its review of {row.reader} is {found!r}, the audit says {expected!r}"
    return f"it has no review of {min(unseen)}, the audit has one" if unseen else None


def _map_differs(result: Result) -> str | None:
    found = hashlib.sha256(result.saliency).hexdigest()
    return None if found == result.saliency_sha256 else "its saliency map is not the one that was stored"


def _maps_differ(rows: Iterable[tuple[Explanation, str | None]], told: _Told) -> str | None:
    """The first explanation that is otherwise than its events say, or that is there in one of both alone."""
    unseen = dict(told.maps)
    for row, digest in rows:
        said = unseen.pop(row.id, None)
        problem = _explanation_differs(row, digest, said, told.stream) if said else "the audit does not know it"
        if problem:
            return f"its map by {row.method}: {problem}"
    return f"its map by {next(iter(unseen.values())).facts['method']}: it has no row" if unseen else None


def _explanation_differs(row: Explanation, digest: str | None, said: _ToldMap, stream: str | None) -> str | None:
    if (row.tenant, f"key:{row.owner}") != (stream, said.asked_by):
        return f"it is of {row.tenant} and key:{row.owner}, the audit says {stream} and {said.asked_by}"
    if row.state != said.state:
        return f"it is {row.state}, the audit left it {said.state}"
    numbers = said.facts.get("quality", {})
    found = row.quality or {}
    wrong = next((name for name in sorted(numbers) if found.get(name) != numbers[name]), None)
    if wrong is not None:
        return f"its {wrong} is {found.get(wrong)!r}, the audit says {numbers[wrong]!r}"
    problem = _differs(row, {name: value for name, value in said.facts.items() if name != "quality"})
    if problem or digest == row.values_sha256:
        return problem
    return "its bytes are not those that were stored" if digest else "its bytes are gone"
